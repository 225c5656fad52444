"""Paths down the tree of sequences: quantiles, and the likeliest sequence."""

# B rows, N nodes, C classes, W walkers

from __future__ import annotations

import torch
from torch import Tensor

from watchline.models.gr.loss import window_values


class QuantileWalks:
    """For each level and row the path whose part of the unit interval holds the level.

    A walker carries u, its place within the mass of its node: it goes into the first class whose cumulative
    probability reaches u, and on with the share of u within that class. The code keeps order (METHODS, section 2), so
    it arrives at the smallest label y with F(y) >= level, F the decoder's own distribution function.
    """

    def __init__(self, levels: tuple[float, ...], row_B: Tensor) -> None:
        rows, count = len(row_B), len(levels)
        self.units_QB = torch.zeros((count, rows), dtype=torch.int64, device=row_B.device)
        self.node_W = row_B.repeat(count)
        self._slot_W = torch.arange(count * rows, device=row_B.device)  # level times rows plus row
        level_Q = torch.tensor(levels, dtype=torch.float64, device=row_B.device)
        self._u_W = level_Q.repeat_interleave(rows)

    def choose(self, probability_NC: Tensor) -> Tensor:
        """Class of each walker (W,)."""
        cumulative_NC = probability_NC.cumsum(dim=1)
        cumulative_WC = cumulative_NC.index_select(0, self.node_W)
        target_W = self._u_W * cumulative_WC[:, -1]
        class_W = (cumulative_WC < target_W[:, None]).sum(dim=1)
        self._cumulative_WC, self._target_W, self._class_W = cumulative_WC, target_W, class_W
        return class_W

    def arrive(self, there_W: Tensor, units_W: Tensor) -> None:
        """Note the totals (W,) of the walkers that have arrived."""
        self.units_QB.view(-1)[self._slot_W[there_W]] = units_W[there_W]

    def move(self, going_W: Tensor, node_W: Tensor) -> None:
        """Keep the walkers `going_W`, which went to new nodes `node_W`."""
        cumulative_WC, target_W = self._cumulative_WC[going_W], self._target_W[going_W]
        class_W = self._class_W[going_W, None]
        above_W, below_W = (cumulative_WC.gather(1, class_W - i).squeeze(1) for i in (0, 1))
        self._u_W = ((target_W - below_W) / (above_W - below_W)).clamp(0.0, 1.0)
        self._slot_W, self.node_W = self._slot_W[going_W], node_W


class LikeliestWalks:
    """The likeliest class at every step: its total is `argmax`, the summed windows around it are `window`."""

    def __init__(self, row_B: Tensor, active: bool, window: int, renormalised: bool, class_value_C: Tensor) -> None:
        self._window, self._renormalised, self._value_C = window, renormalised, class_value_C.double()
        self.argmax_B = torch.zeros_like(row_B)
        self.window_B = torch.zeros(len(row_B), dtype=torch.float64, device=row_B.device)
        self.node_W = self._row_W = row_B if active else row_B[:0]

    def choose(self, probability_NC: Tensor) -> Tensor:
        """Class of each walker (W,)."""
        probability_WC = probability_NC.index_select(0, self.node_W)
        self.window_B[self._row_W] += window_values(probability_WC, self._value_C, self._window, self._renormalised)
        class_W = probability_WC.argmax(dim=1)
        return class_W

    def arrive(self, there_W: Tensor, units_W: Tensor) -> None:
        """Note the totals (W,) of the walkers that have arrived."""
        self.argmax_B[self._row_W[there_W]] = units_W[there_W]

    def move(self, going_W: Tensor, node_W: Tensor) -> None:
        """Keep the walkers `going_W`, which went to new nodes `node_W`."""
        self._row_W, self.node_W = self._row_W[going_W], node_W
