"""The training labels' distribution, as a model carries it: ranks, and what to expect within a range of labels."""

# G knots, N labels

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from watchline.codec import Vocabulary, count_units

_MAX_KNOTS = 8192  # every unit is a knot where the cap allows; otherwise quantiles of the labels are


class LabelLaw(nn.Module):
    """Cumulative counts and sums of the training labels at knots, linear in between; empty until `fit`.

    `knot_G` in units, ascending; of the labels below each knot: `below_G` their share, `sum_s_G` and `sum_log_G` their
    sums of seconds and of log1p(seconds) over the number of labels. float64.
    """

    knot_G: Tensor
    below_G: Tensor
    sum_s_G: Tensor
    sum_log_G: Tensor

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.every_unit = vocabulary.cap + 2 <= _MAX_KNOTS
        size = min(vocabulary.cap + 2, _MAX_KNOTS)
        knots = torch.arange(size) if self.every_unit else torch.full((size,), vocabulary.cap + 1)
        self.register_buffer("knot_G", knots)
        for name in ("below_G", "sum_s_G", "sum_log_G"):
            self.register_buffer(name, torch.zeros(size, dtype=torch.float64))

    @property
    def fitted(self) -> bool:
        """Whether `fit` has seen labels."""
        return bool(self.below_G[-1] > 0)

    def fit(self, labels_s: ArrayLike) -> None:
        """Take in the training labels (N,) in seconds; raises ValueError when there are none or one is not valid."""
        units_U, count_U = count_units(labels_s, self.vocabulary.unit_s, self.vocabulary.cap)
        if not len(units_U):
            raise ValueError("no training labels to rank by; check window.* against the feature table")
        rows_U = np.cumsum(count_U)
        if not self.every_unit:
            at = np.linspace(0, rows_U[-1] - 1, len(self.knot_G) // 2 - 1).round().astype(np.int64)
            chosen = units_U[np.searchsorted(rows_U, at, side="right")]
            wanted = np.unique(np.concatenate([chosen, chosen + 1, [0]]))
            self.knot_G.fill_(self.vocabulary.cap + 1)
            self.knot_G[: len(wanted)] = torch.from_numpy(wanted)
        seconds_U = units_U * self.vocabulary.unit_s
        below_G = np.searchsorted(units_U, self.knot_G.cpu().numpy(), side="left")
        for buffer, terms_U in (
            (self.below_G, np.ones(len(units_U))),
            (self.sum_s_G, seconds_U),
            (self.sum_log_G, np.log1p(seconds_U)),
        ):
            cumulative = np.concatenate([[0.0], np.cumsum(count_U * terms_U)]) / rows_U[-1]
            buffer.copy_(torch.from_numpy(cumulative[below_G]))

    def at(self, units: Tensor, *cumulative_G: Tensor) -> list[Tensor]:
        """Cumulative quantities of the labels below `units` (int64, any shape, up to cap + 1)."""
        if self.every_unit:
            return [quantity_G[units] for quantity_G in cumulative_G]
        upper = torch.searchsorted(self.knot_G, units, right=True).clamp(max=len(self.knot_G) - 1)
        lower = upper - 1
        start = self.knot_G[lower]
        share = ((units - start) / (self.knot_G[upper] - start).clamp(min=1)).clamp(max=1.0)
        return [quantity_G[lower] + share * (quantity_G[upper] - quantity_G[lower]) for quantity_G in cumulative_G]

    def rank(self, units: Tensor) -> Tensor:
        """Share of training labels below, plus half of those equal: 0 to 1."""
        (below,), (below_next,) = self.at(units, self.below_G), self.at(units + 1, self.below_G)
        return (below + below_next) / 2
