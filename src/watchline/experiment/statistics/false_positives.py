"""A/A: how often a test rejects where nobody is treated, beside what a valid test may do by chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from watchline.experiment.statistics.compare import estimate_difference
from watchline.experiment.statistics.means import ALPHA, mean_of


@dataclass(frozen=True)
class FalsePositives:
    """Share of A/A runs with p < ALPHA, and the band that holds the share of a valid test with 99 % probability."""

    rate: float
    low: float
    high: float
    runs: int

    @classmethod
    def of(cls, p_values: ArrayLike) -> FalsePositives:
        """Of the p-values of independent A/A runs (R,); the band is binomial, Bin(R, ALPHA) / R at 0.5 % and 99.5 %."""
        p_R = np.asarray(p_values, np.float64)
        low, high = stats.binom.ppf([0.005, 0.995], len(p_R), ALPHA) / len(p_R)
        return cls(float(np.mean(p_R < ALPHA)), float(low), float(high), len(p_R))


def check_false_positives(outcome: ArrayLike, in_treatment_RU: NDArray[np.bool_]) -> FalsePositives:
    """A/A runs: Welch's test of the same outcomes (U,) under R splits (R, U) that treat nobody.

    Splits of one sample of users are close to independent when users are many. Raises ValueError for a split that
    leaves an arm with fewer than two users. Reference: Kohavi, Tang, Xu (2020), chapter 19.
    """
    values = np.asarray(outcome, np.float64)
    return FalsePositives.of(
        [estimate_difference(mean_of(values[split]), mean_of(values[~split])).p_value for split in in_treatment_RU]
    )
