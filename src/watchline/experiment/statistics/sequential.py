"""A test that may be looked at whenever one likes: the mixture sequential probability ratio test (mSPRT)."""

# L looks in order of time, U users

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from watchline.experiment.statistics.means import ALPHA, Floats, Mean, ratio_of

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Trajectory:
    """What is known after each look, (L,): difference or lift, and bounds and p-value that hold at every look at once.

    Bounds are the intersection of the intervals so far; the p-value is the least so far.
    """

    value_L: Floats
    low_L: Floats
    high_L: Floats
    p_value_L: Floats

    @property
    def stopped_at(self) -> int | None:
        """The first look whose p-value is below ALPHA, from 0; None when there is none."""
        below_L = self.p_value_L < ALPHA
        return int(below_L.argmax()) if below_L.any() else None

    @property
    def is_consistent(self) -> bool:
        """False when intervals of two looks do not meet: the effect changed during the test, or users are not alike."""
        return bool((self.low_L <= self.high_L).all())


def mixing_deviation(detectable_difference: float) -> float:
    """tau of the mixture for a test planned to find `detectable_difference` (from `minimum_detectable_effect`).

    tau is the difference itself: tau^2 = 7.85 V where V is the variance planned for (power .8), beside the 8.21 V of
    the narrowest interval there, V (-W(-ALPHA^2 / e) - 1) with Lambert's lower branch; widths differ by .01 %. A tau
    three times too small costs 24 % of the width, three times too large 6 %, ten times too large 18 %, and none costs
    validity as long as it is not chosen from the test's own data.
    Reference: Johari, Pekelis, Walsh (2015); Howard et al., Annals of Statistics 49 (2021), section 3.5.
    """
    return abs(detectable_difference)


def always_valid(difference_L: ArrayLike, variance_L: ArrayLike, tau: float) -> Trajectory:
    """mSPRT of "the difference is 0" over looks; arrays (..., L), the last axis in order of time.

    The likelihood ratio of a N(0, tau^2) mixture of effects to none, with difference D of variance V at a look, is
    Lambda = sqrt(V / (V + tau^2)) exp(tau^2 D^2 / (2 V (V + tau^2))): a martingale where there is no effect, so that
    P(Lambda >= 1 / ALPHA at any look) <= ALPHA. The p-value is the least 1 / Lambda so far, the interval the effects
    not rejected so far, D -+ sqrt(V (V + tau^2) / tau^2 * (2 ln(1 / ALPHA) + ln((V + tau^2) / V))).
    Assumes that every look estimates the same effect, that the difference is about normal, and that V is known; it is
    estimated, which calls for tens of users in each arm at the first look (docs/ab_statistics.md).
    Reference: Johari, Pekelis, Walsh, "Always valid inference" (2015); Johari, Koomen, Pekelis, Walsh, KDD 2017;
    Robbins, Annals of Mathematical Statistics 41 (1970). Raises ValueError for a tau that is not positive.
    """
    if not tau > 0:
        raise ValueError(f"tau is {tau}; it must be positive: take the minimum detectable effect of the plan")
    d, v = np.asarray(difference_L, np.float64), np.asarray(variance_L, np.float64)
    mixed = v + tau**2
    with np.errstate(divide="ignore", invalid="ignore"):
        log_ratio = 0.5 * np.log(v / mixed) + tau**2 * np.square(d) / (2 * v * mixed)
        reach = np.sqrt(v * mixed / tau**2 * (2 * math.log(1 / ALPHA) + np.log(mixed / v)))
    # Users who are all alike leave no variance: nothing is known yet.
    log_ratio, reach = np.where(v > 0, log_ratio, 0.0), np.where(v > 0, reach, np.inf)
    return Trajectory(
        value_L=d,
        low_L=np.maximum.accumulate(d - reach, axis=-1),
        high_L=np.minimum.accumulate(d + reach, axis=-1),
        p_value_L=np.exp(-np.maximum.accumulate(np.maximum(log_ratio, 0.0), axis=-1)),
    )


def trajectory_of(looks: Sequence[tuple[Mean, Mean]], tau: float) -> Trajectory:
    """`always_valid` of the (treatment, control) means at each look, by the formula of independent arms.

    The means may be ratios or CUPED's. Looks of the same users over longer and longer time are as good as looks of more
    and more users when the mean is per day or per exposure, not a growing total: V then falls and two looks' estimates
    have the later one's V as covariance, which is all that the martingale is about in large samples.
    Reference: Jennison & Turnbull, JASA 92 (1997).
    """
    difference_L = [treatment.value - control.value for treatment, control in looks]
    variance_L = [treatment.variance + control.variance for treatment, control in looks]
    return always_valid(difference_L, variance_L, tau)


def trajectory_by_period(
    numerator_LU: ArrayLike, denominator_LU: ArrayLike, in_treatment: Bools, tau: float
) -> Trajectory:
    """A look after each period (a day, or every n requests) of the lift of a ratio of sums over all periods so far.

    `numerator_LU` and `denominator_LU` (L, U): what each user adds in each period, watch time and sessions say;
    `in_treatment` (U,). Users who have not come yet are no part of a look. The test is of log R_t - log R_c, R the
    ratios, Var log R = Var R / R^2 (delta method); tau is of that difference, and bounds are turned into lifts.
    Reference: `always_valid`, `trajectory_of`; Deng, Knoblich, Lu, KDD 2018, for the delta method.
    Raises ValueError when a look has fewer than two users in an arm or a ratio that is not positive.
    """
    n_LU = np.cumsum(np.asarray(numerator_LU, np.float64), axis=0)
    d_LU = np.cumsum(np.asarray(denominator_LU, np.float64), axis=0)
    looks = []
    for n_U, d_U in zip(n_LU, d_LU, strict=True):
        arms = [(d_U > 0) & arm for arm in (in_treatment, ~in_treatment)]
        looks.append((_log(ratio_of(n_U[arms[0]], d_U[arms[0]])), _log(ratio_of(n_U[arms[1]], d_U[arms[1]]))))
    found = trajectory_of(looks, tau)
    return Trajectory(np.expm1(found.value_L), np.expm1(found.low_L), np.expm1(found.high_L), found.p_value_L)


def _log(ratio: Mean) -> Mean:
    if ratio.value <= 0:
        raise ValueError(f"an arm's ratio is {ratio.value} at a look; start looking when both arms have something")
    return Mean(math.log(ratio.value), ratio.variance / ratio.value**2, ratio.freedom)
