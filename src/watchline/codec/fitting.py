"""Choosing a vocabulary: dynamic quantiles of the training labels, powers of two, or a given list."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from watchline.codec.counting import Units, count_units
from watchline.codec.vocabulary import MAX_VALUES, Vocabulary
from watchline.config import Config

_MAX_RATIO = 6  # between neighbouring fitted tokens, and of the cap to the largest; wider gaps get doubled tokens


class VocabularyConfig(Config):
    """Which vocabulary, in which unit, up to which cap; the quantile fields belong to `dynamic_quantile`."""

    kind: Literal["dynamic_quantile", "binary", "manual"] = "dynamic_quantile"
    unit_s: float = Field(default=1.0, gt=0, description="labels are rounded to whole units; 0.001 keeps milliseconds")
    cap_s: float = Field(default=3600.0, gt=0, description="labels above are clipped to it, and counted")
    q_start: float = Field(default=0.9999, gt=0, le=1, description="quantile of the first token")
    q_end: float = Field(default=0.9, gt=0, le=1, description="lowest quantile")
    decay: float = Field(default=0.99, gt=0, le=1, description="factor on the quantile from token to token")
    epsilon: float = Field(default=1e-6, ge=0, description="stop once every remainder is below this share of its label")
    values_s: tuple[float, ...] = Field(default=(), description="the tokens of `manual`, whole multiples of the unit")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.cap_s < self.unit_s:
            raise ValueError(f"cap_s={self.cap_s} must be at least unit_s={self.unit_s}")
        if self.q_end > self.q_start:
            raise ValueError(f"q_end={self.q_end} must not exceed q_start={self.q_start}")
        if (self.kind == "manual") != bool(self.values_s):
            raise ValueError(f"values_s goes with kind=manual, got kind={self.kind} and {len(self.values_s)} values")
        return self


def fit_vocabulary(labels_s: ArrayLike, config: VocabularyConfig) -> Vocabulary:
    """The vocabulary of `config`, a function of the training labels (N,) alone, in whatever order they come.

    Labels may be memory-mapped; memory grows with their distinct values, not with N. Raises ValueError for no labels
    (dynamic_quantile), negative or non-finite ones, and an impossible vocabulary.
    """
    cap = max(1, round(config.cap_s / config.unit_s))
    if config.kind == "binary":
        values = binary_values(cap)
    elif config.kind == "manual":
        values = _manual_values(config, cap)
    else:
        units_U, count_U = count_units(labels_s, config.unit_s, cap)
        if not len(units_U):
            raise ValueError("no training labels to fit a vocabulary on; check window.* against the feature table")
        values = dynamic_quantile_values(
            units_U, count_U, q_start=config.q_start, q_end=config.q_end, decay=config.decay, epsilon=config.epsilon
        )
        values = _close_gaps(values, cap)
    return Vocabulary(tuple(sorted({1, *values})), config.unit_s, cap)


def dynamic_quantile_values(
    units_U: Units, count_U: Units, *, q_start: float, q_end: float, decay: float, epsilon: float
) -> list[int]:
    """Token values by dynamic quantiles, largest first (arXiv 2412.20211), of labels (U,) in units and their counts.

    Append the q-quantile z of the remainders, subtract it where it fits, lower q, until remainders are negligible.
    """
    label_U, remainder_U = units_U.astype(np.float64), units_U.astype(np.float64)
    values: list[int] = []
    quantile = q_start
    while len(values) < MAX_VALUES and (remainder_U > epsilon * label_U).any():
        z = weighted_quantile(remainder_U, count_U, quantile)
        if z < 1:
            break
        values.append(int(z))
        remainder_U = np.where(remainder_U < z, remainder_U, remainder_U - z)
        quantile = max(q_end, quantile * decay)
    return values


def weighted_quantile(values_U: NDArray[np.float64], count_U: Units, quantile: float) -> float:
    """Quantile, by linear interpolation, of the values (U,), each as often as it is counted: `np.quantile` of all."""
    order = np.argsort(values_U, kind="stable")
    cumulative_U = np.cumsum(count_U[order])
    position = quantile * (int(cumulative_U[-1]) - 1)
    below = int(np.floor(position))
    around = np.searchsorted(cumulative_U, [below, below + 1], side="right").clip(max=len(order) - 1)
    low, high = values_U[order[around]]
    return float(low + (position - below) * (high - low))


def binary_values(cap: int) -> list[int]:
    """Powers of two up to the cap, in units."""
    return [1 << k for k in range(cap.bit_length())]


def _manual_values(config: VocabularyConfig, cap: int) -> list[int]:
    values = [round(value / config.unit_s) for value in config.values_s]
    for value, given in zip(values, config.values_s):
        if value < 1 or abs(value - given / config.unit_s) > 1e-6 * value:
            raise ValueError(f"values_s: {given} is no whole multiple of unit_s={config.unit_s}")
        if value > cap:
            raise ValueError(f"values_s: {given} exceeds cap_s={config.cap_s}; lower it or raise the cap")
    return values


def _close_gaps(values: list[int], cap: int) -> list[int]:
    """Add doubled tokens wherever sequences would grow long, such as with labels that are all alike."""
    closed = [1]
    for value in (*sorted(set(values) - {1}), cap + 1):
        while value > _MAX_RATIO * closed[-1]:
            closed.append(2 * closed[-1])
        closed.append(value)
    return closed[:-1]
