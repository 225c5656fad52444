"""A log of choices made at random, and whether it overlaps with what another policy would choose."""

# N rows, A actions, G clusters

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Effective rows: with fewer, intervals of generated watch times hold the truth in 89 to 92 % (docs/ab_statistics.md).
SMALL_SAMPLE = 1000
HEAVY_WEIGHT = 0.05  # share of all weight that a single row may have
MEAN_WEIGHT_ERRORS = 3.0  # standard errors that the mean weight may be from 1


@dataclass(frozen=True)
class Log:
    """Logged choices: reward, propensity of what was shown, the target policy's chance of it, the user; arrays (N,).

    Users (any ids) are the clusters of the standard errors; None: rows are independent. Raises ValueError for arrays
    of other lengths, no rows, propensities that are not in (0, 1] or target chances that are not in [0, 1].
    """

    reward_N: Floats
    propensity_N: Floats
    target_N: Floats
    user_N: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        shapes = {name: np.shape(value) for name, value in vars(self).items() if value is not None}
        if len(set(shapes.values())) != 1 or len(np.shape(self.reward_N)) != 1 or not len(self.reward_N):
            raise ValueError(f"a log takes one or more rows and arrays of one length, got {shapes}")
        wrong = {
            "propensity_N": (self.propensity_N <= 0) | (self.propensity_N > 1) | np.isnan(self.propensity_N),
            "target_N": (self.target_N < 0) | (self.target_N > 1) | np.isnan(self.target_N),
            "reward_N": ~np.isfinite(self.reward_N),
        }
        for name, rows_N in wrong.items():
            if rows_N.any():
                raise ValueError(
                    f"{name}: {rows_N.sum()} of {len(rows_N)} rows out of range, row {rows_N.argmax()} the first; "
                    "rewards are finite, target chances in [0, 1], propensities in (0, 1]"
                )

    @cached_property
    def cluster_N(self) -> NDArray[np.int64] | None:
        """Users numbered from 0 (N,)."""
        return None if self.user_N is None else np.unique(self.user_N, return_inverse=True)[1].astype(np.int64)

    @cached_property
    def weight_N(self) -> Floats:
        """w, the importance weight of each row."""
        weight_N: Floats = self.target_N / self.propensity_N
        return weight_N


def effective_sample_size(weight_N: Floats) -> float:
    """(sum w)^2 / sum w^2: as many equally weighted rows have the same variance; 0 where no row has weight.

    Reference: Kong, Technical Report 348, University of Chicago (1992).
    """
    squares = float(np.square(weight_N).sum())
    return float(weight_N.sum()) ** 2 / squares if squares else 0.0


def check_overlap(log: Log) -> tuple[str, ...]:
    """Sentences of what makes the estimates doubtful: few effective rows, one row with much of the weight, and a mean
    weight that is not 1, which it is in expectation when propensities are right and every action is supported.

    Reference of the last: Li, Chen, Kleban, Gupta, WWW Companion 2015.
    """
    weight_N, warnings = log.weight_N, []
    size = effective_sample_size(weight_N)
    if size < SMALL_SAMPLE:
        warnings.append(
            f"{size:.1f} effective rows of {len(weight_N)}, under {SMALL_SAMPLE}: too few to trust the interval"
        )
    if weight_N.any() and weight_N.max() > HEAVY_WEIGHT * weight_N.sum():
        warnings.append(f"one row has {weight_N.max() / weight_N.sum():.0%} of all weight: the estimate hangs on it")
    mean, error = float(weight_N.mean()), clustered_error(weight_N - weight_N.mean(), log.cluster_N)
    if abs(mean - 1) > MEAN_WEIGHT_ERRORS * error + 1e-9:
        warnings.append(
            f"the mean weight is {mean:.3f} with a standard error of {error:.3f}, not 1: propensities are wrong, or "
            "the policy takes actions that were never logged"
        )
    return tuple(warnings)


def clustered_error(influence_N: Floats, cluster_N: NDArray[np.int64] | None) -> float:
    """Standard error of an estimate whose rows have this influence: sqrt(G / (G - 1) sum_g (sum in g)^2) / N.

    G clusters numbered from 0 (N,), or the N rows without them; infinite for a single one.
    Reference: Liang & Zeger, Biometrika 73 (1986).
    """
    sums_G = influence_N if cluster_N is None else np.bincount(cluster_N, influence_N)
    if len(sums_G) < 2:
        return math.inf
    return math.sqrt(len(sums_G) / (len(sums_G) - 1) * float(np.square(sums_G).sum())) / len(influence_N)
