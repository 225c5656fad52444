"""Choosing a vocabulary: dynamic quantiles of the training labels, powers of two, or a given list."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, model_validator

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
    """The vocabulary of `config`, a function of the training labels (N,) alone.

    Raises ValueError for no labels (dynamic_quantile), negative or non-finite ones, and an impossible vocabulary.
    """
    cap = max(1, round(config.cap_s / config.unit_s))
    if config.kind == "binary":
        values = binary_values(cap)
    elif config.kind == "manual":
        values = _manual_values(config, cap)
    else:
        units_N = _training_units(labels_s, config.unit_s, cap)
        values = dynamic_quantile_values(
            units_N, q_start=config.q_start, q_end=config.q_end, decay=config.decay, epsilon=config.epsilon
        )
        values = _close_gaps(values, cap)
    return Vocabulary(tuple(sorted({1, *values})), config.unit_s, cap)


def dynamic_quantile_values(
    units_N: np.ndarray, *, q_start: float, q_end: float, decay: float, epsilon: float
) -> list[int]:
    """Token values by dynamic quantiles of labels (N,) in units, largest first (arXiv 2412.20211).

    Append the q-quantile z of the remainders, subtract it where it fits, lower q, until remainders are negligible.
    """
    remainder_N = np.asarray(units_N, dtype=np.float64)
    remainder_N = remainder_N[remainder_N > 0] if remainder_N.max(initial=0) > 0 else remainder_N[:0]
    label_N, num_zeros = remainder_N, len(units_N) - len(remainder_N)
    values: list[int] = []
    quantile = q_start
    while len(remainder_N) and len(values) < MAX_VALUES:
        z = _quantile_with_zeros(remainder_N, num_zeros, quantile)
        if z < 1:
            break
        values.append(int(z))
        remainder_N = np.where(remainder_N < z, remainder_N, remainder_N - z)
        quantile = max(q_end, quantile * decay)
        if (remainder_N / label_N).max() <= epsilon:
            break
    return values


def _quantile_with_zeros(positive: np.ndarray, num_zeros: int, quantile: float) -> float:
    """Quantile (linear interpolation) of the array and `num_zeros` zeros, which need not be sorted with it."""
    position = quantile * (len(positive) + num_zeros - 1) - num_zeros
    below = int(np.floor(position))
    share = position - below
    wanted = [max(0, min(below + i, len(positive) - 1)) for i in (0, 1)]
    ordered = np.partition(positive, wanted)
    low, high = (float(ordered[w]) if below + i >= 0 else 0.0 for i, w in enumerate(wanted))
    return low + share * (high - low)


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


def _training_units(labels_s: ArrayLike, unit_s: float, cap: int) -> np.ndarray:
    labels_N = np.asarray(labels_s, dtype=np.float64)
    if labels_N.size == 0:
        raise ValueError("no training labels to fit a vocabulary on; check window.* against the feature table")
    bad = ~(np.isfinite(labels_N) & (labels_N >= 0))
    if bad.any():
        raise ValueError(f"{int(bad.sum())} of {labels_N.size} training labels are negative or not finite")
    return np.minimum(np.rint(labels_N / unit_s), cap)


def _close_gaps(values: list[int], cap: int) -> list[int]:
    """Add doubled tokens wherever sequences would grow long, such as with labels that are all alike."""
    closed = [1]
    for value in (*sorted(set(values) - {1}), cap + 1):
        while value > _MAX_RATIO * closed[-1]:
            closed.append(2 * closed[-1])
        closed.append(value)
    return closed[:-1]
