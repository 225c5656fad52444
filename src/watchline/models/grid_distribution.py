"""Distributions given at knots: what probability lies up to each of them, spread evenly from one knot to the next.

The knots are the corners of a rising line from (v_1, 0) to (v_M, 1): a flat piece is a gap without probability, an
upright one (two knots of equal value) an atom. Every statistic is a closed form of the pieces. Two neighbours of equal
height and value are harmless, so rows of one batch need not have the same number of atoms.
"""

# B rows, M knots, P = M - 1 pieces, Q levels, K knots of the labels' ranks

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# A piece narrower than this share of its place counts as an atom: averages over it would only be rounding.
_NARROW = 1e-6


@dataclass(frozen=True)
class GridDistribution:
    """A distribution per row. `value_XM` float64 (B, M), or (1, M) where all rows share the knots, not falling, 0 or
    above; `cumulative_BM` float64 (B, M), not falling, from 0 to 1."""

    value_XM: Tensor
    cumulative_BM: Tensor

    def quantile(self, levels: Sequence[float]) -> Tensor:
        """The smallest value up to which the probability is at least each level (Q, B); levels between 0 and 1."""
        cumulative_BM, value_BM = self.cumulative_BM.contiguous(), self._values()
        level_BQ = cumulative_BM.new_tensor(list(levels)).expand(len(cumulative_BM), -1).contiguous()
        upper_BQ = torch.searchsorted(cumulative_BM, level_BQ).clamp(1, cumulative_BM.shape[1] - 1)
        return interpolate(cumulative_BM, value_BM, upper_BQ, level_BQ).T

    def cumulative(self, label_B: Tensor) -> tuple[Tensor, Tensor]:
        """F(y-) and F(y) of a value per row (B,): probability below it, and up to it."""
        value_BM, label_B1 = self._values(), label_B.double()[:, None]
        last = value_BM.shape[1] - 1
        # Knots from the first one not below y up to the first one above it have the value y itself.
        from_B1 = torch.searchsorted(value_BM, label_B1)
        past_B1 = torch.searchsorted(value_BM, label_B1, right=True)
        between_B1 = interpolate(value_BM, self.cumulative_BM, past_B1.clamp(1, last), label_B1)
        below_B1 = torch.where(from_B1 < past_B1, self.cumulative_BM.gather(1, from_B1.clamp(max=last)), between_B1)
        upto_B1 = torch.where(from_B1 < past_B1, self.cumulative_BM.gather(1, (past_B1 - 1).clamp(min=0)), between_B1)
        return below_B1.squeeze(1), upto_B1.squeeze(1)

    def mean(self) -> Tensor:
        """Expectation (B,)."""
        return self._expectation((self.value_XM[:, :-1] + self.value_XM[:, 1:]) / 2)

    def mean_log(self) -> Tensor:
        """Expectation of log1p of the value (B,)."""
        return self._expectation(_averages(self.value_XM, torch.log1p, lambda x: (1 + x) * torch.log1p(x) - x))

    def expected_rank(self, label_K: Tensor, rank_K: Tensor) -> Tensor:
        """Expectation (B,) of the rank that is `rank_K` at labels `label_K` (`LabelRanks`), linear in between."""
        return self._expectation(_averages(self.value_XM, *_rank_functions(label_K, rank_K)))

    def _values(self) -> Tensor:
        return self.value_XM.expand(len(self.cumulative_BM), -1).contiguous()

    def _expectation(self, average_XP: Tensor) -> Tensor:
        """Sum over pieces of probability times what the function comes to on average over the piece."""
        mass_BP = self.cumulative_BM.diff(dim=1)
        return mass_BP @ average_XP[0] if len(average_XP) == 1 else (mass_BP * average_XP).sum(dim=1)


def interpolate(x_BM: Tensor, y_BM: Tensor, upper_BQ: Tensor, at_BQ: Tensor) -> Tensor:
    """y (B, Q) at places x of the piece that ends in knot `upper_BQ`; places outside it give its nearer end."""
    x0, x1, y0, y1 = (part.gather(1, upper_BQ - i) for part in (x_BM, y_BM) for i in (1, 0))
    width = x1 - x0
    share = torch.where(width > 0, (at_BQ - x0) / torch.where(width > 0, width, 1.0), (at_BQ >= x1).to(x0.dtype))
    return y0 + share.clamp(0.0, 1.0) * (y1 - y0)


def _averages(value_XM: Tensor, function: Callable[[Tensor], Tensor], integral: Callable[[Tensor], Tensor]) -> Tensor:
    """What `function` comes to on average between neighbouring knots (X, P), by its integral from 0."""
    low, high = value_XM[:, :-1], value_XM[:, 1:]
    width = high - low
    narrow = width <= _NARROW * (1 + high)
    exact = integral(value_XM).diff(dim=1) / torch.where(narrow, 1.0, width)
    return torch.where(narrow, function((low + high) / 2), exact)


def _rank_functions(label_K: Tensor, rank_K: Tensor) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """The rank as a function of a value, flat outside the knots, and its integral from the first knot on."""
    # One more knot on either side makes the flat parts pieces like the others.
    one = torch.ones_like(label_K[:1])
    x_K = torch.cat([label_K[:1] - one, label_K, label_K[-1:] + one])
    y_K = torch.cat([rank_K[:1], rank_K, rank_K[-1:]])
    slope_K = y_K.diff() / x_K.diff()
    area_K = torch.cat([torch.zeros_like(one), ((y_K[1:] + y_K[:-1]) / 2 * x_K.diff()).cumsum(0)])

    def place(x: Tensor) -> tuple[Tensor, Tensor]:
        piece = (torch.searchsorted(x_K, x.contiguous(), right=True) - 1).clamp(0, len(slope_K) - 1)
        return piece, x - x_K[piece]

    def rank(x: Tensor) -> Tensor:
        piece, beyond = place(x)
        return y_K[piece] + slope_K[piece] * beyond

    def integral(x: Tensor) -> Tensor:
        piece, beyond = place(x)
        return area_K[piece] + beyond * (y_K[piece] + slope_K[piece] * beyond / 2)

    return rank, integral
