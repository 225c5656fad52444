"""Expectations: the distribution split into parts until a part's mass times its width no longer matters."""

# B rows, N nodes, C classes, S states, E expectations

from __future__ import annotations

import torch
from torch import Tensor

from watchline.codec import EOS, Vocabulary
from watchline.models.gr.label_law import LabelLaw


class Expectations:
    """Sums over the parts of every row's distribution, for `mean`, `expected_rank` and `mean_log`.

    A class c after a prefix covers the labels from low = prefix + value(c) to high = low + R(c) - 1. A part is split
    while mass * (f(high) - f(low)) exceeds the tolerance; else it counts with the training labels' mean of f over its
    range, so that its error is at most that product. Tolerance 0 splits everything: exact, by enumeration.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        row_B: Tensor,
        vocabulary: Vocabulary,
        law: LabelLaw,
        tolerance_s: float,
        rank_tolerance: float,
    ) -> None:
        self._law, self._unit_s = law, vocabulary.unit_s
        self._tolerance = {"mean": tolerance_s, "expected_rank": rank_tolerance, "mean_log": rank_tolerance}
        self.sums = {name: torch.zeros(len(row_B), dtype=torch.float64, device=row_B.device) for name in names}
        legal = vocabulary.legal
        bound = torch.from_numpy(legal.bound_S)[torch.from_numpy(legal.next_SC)]  # of an illegal class: of no use
        bound[:, EOS] = 1
        self._width_SC = (bound - 1).clamp(max=vocabulary.cap).to(row_B.device)
        self._value_C = torch.from_numpy(vocabulary.class_values).to(row_B.device)
        self._cap = vocabulary.cap

    def start(self, rows: int, device: torch.device) -> Tensor:
        """Mass (E, B) to split at the start: all of it, for each of the E expectations by itself."""
        return torch.ones((len(self.sums), rows), dtype=torch.float64, device=device)

    def split(
        self, probability_NC: Tensor, mass_EN: Tensor, prefix_N: Tensor, state_N: Tensor, row_N: Tensor
    ) -> Tensor:
        """Mass (E, N, C) of the parts to split further, 0 elsewhere; all other parts are added to the sums."""
        low_NC = (prefix_N[:, None] + self._value_C).clamp(max=self._cap)
        high_NC = (low_NC + self._width_SC.index_select(0, state_N)).clamp(max=self._cap)
        mass_ENC = mass_EN[:, :, None] * probability_NC
        for (name, sum_B), mass_NC in zip(self.sums.items(), mass_ENC):
            spread_NC = self._function(name, high_NC) - self._function(name, low_NC)
            ends_NC = (mass_NC * spread_NC <= self._tolerance[name]) | (high_NC <= low_NC)
            filled_NC = mass_NC * self._fill(name, low_NC, high_NC)
            sum_B.index_add_(0, row_N, (filled_NC * ends_NC).sum(dim=1))
            mass_NC.masked_fill_(ends_NC, 0.0)
        return mass_ENC

    def _function(self, name: str, units: Tensor) -> Tensor:
        if name == "expected_rank":
            return self._law.rank(units)
        seconds = units.double() * self._unit_s
        return seconds if name == "mean" else seconds.log1p()

    def _fill(self, name: str, low: Tensor, high: Tensor) -> Tensor:
        """Training mean of the function over labels from low to high inclusive; its middle where there are none."""
        law = self._law
        if name == "expected_rank":
            return (law.at(low, law.below_G)[0] + law.at(high + 1, law.below_G)[0]) / 2
        total_G = law.sum_s_G if name == "mean" else law.sum_log_G
        share_low, total_low = law.at(low, law.below_G, total_G)
        share_high, total_high = law.at(high + 1, law.below_G, total_G)
        share = share_high - share_low
        at_low, at_high = self._function(name, low), self._function(name, high)
        mean = (total_high - total_low) / share.clamp(min=1e-300)
        return torch.where(share > 1e-12, mean.clamp(at_low, at_high), (at_low + at_high) / 2)
