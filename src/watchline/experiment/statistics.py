"""Statistics of an A/B test whose unit is the user. Every function takes one value per user, not per exposure.

U_t users in treatment, U_c in control; `treatment` and `control` are arrays (U_t,) and (U_c,) of the users' outcomes.
All intervals are two-sided at 1 - ALPHA. They assume that users are independent and that their assignment to an arm is
random (SUTVA: one user's arm does not change another user's outcome), and enough users per arm that means are about
normal; heavy tails ask for thousands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]

ALPHA = 0.05
SRM_ALARM = 0.001  # METHODS: an alarm that stops reading the result must be rare where nothing is wrong


@dataclass(frozen=True)
class Estimate:
    """A value, its 95 % interval (infinite where the data cannot bound it) and the p-value of "there is no effect"."""

    value: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Mean:
    """An estimated mean, the variance of the estimate, and its degrees of freedom."""

    value: float
    variance: float
    freedom: float


def mean_of(values: ArrayLike) -> Mean:
    """Sample mean with variance s^2 / U; raises ValueError for fewer than two users."""
    array = np.asarray(values, np.float64)
    if len(array) < 2:
        raise ValueError(f"an arm has {len(array)} users; a variance takes two or more, so draw more requests")
    return Mean(float(array.mean()), float(array.var(ddof=1)) / len(array), len(array) - 1.0)


def ratio_of(numerator: ArrayLike, denominator: ArrayLike) -> Mean:
    """Ratio of sums, R = sum n_u / sum d_u, with the delta method's variance; arrays (U,).

    Var R = Var(n_u - R d_u) / (U mean(d)^2), the first-order (Taylor) variance: the denominator, exposures say, is
    random too, and a user's exposures are not independent of each other. Assumes mean(d) well above 0.
    Reference: Deng, Knoblich, Lu, KDD 2018, section 3. Raises ValueError when the denominators sum to 0.
    """
    n, d = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    if not d.sum():
        raise ValueError(f"the denominators of {len(d)} users sum to 0; there is no ratio")
    ratio = float(n.sum() / d.sum())
    spread = mean_of((n - ratio * d) / d.mean())
    return Mean(ratio, spread.variance, spread.freedom)


def estimate_difference(treatment: Mean, control: Mean) -> Estimate:
    """Difference of two means by Welch: T - C +- t(nu) sqrt(V_t + V_c), nu by Satterthwaite.

    nu = (V_t + V_c)^2 / (V_t^2 / nu_t + V_c^2 / nu_c); variances may differ between arms.
    Reference: Welch, Biometrika 34 (1947).
    """
    difference, error = treatment.value - control.value, math.sqrt(treatment.variance + control.variance)
    if not error:
        return Estimate(difference, difference, difference, 1.0 if difference == 0 else 0.0)
    nu = _freedom(treatment, control)
    reach = float(stats.t.ppf(1 - ALPHA / 2, nu)) * error
    p_value = 2 * float(stats.t.sf(abs(difference) / error, nu))
    return Estimate(difference, difference - reach, difference + reach, p_value)


def estimate_lift(treatment: Mean, control: Mean) -> Estimate:
    """Relative lift T / C - 1 with Fieller's interval: all ratios q for which T - q C is within its own t interval.

    With g = t^2 V_c / C^2: q = (T C +- sqrt(T^2 C^2 - (C^2 - t^2 V_c)(T^2 - t^2 V_t))) / (C^2 - t^2 V_c).
    It holds 0 exactly when Welch's test at the same level does not reject, which the delta method does not promise;
    for g >= 1 the control's mean is not told from 0 and the interval is unbounded. The p-value is Welch's.
    Reference: Fieller, JRSS B 16 (1954). Raises ValueError for a control whose mean is not positive.
    """
    if control.value <= 0:
        raise ValueError(f"no relative lift over a control whose mean is {control.value}; read the difference instead")
    lift = treatment.value / control.value - 1
    p_value = estimate_difference(treatment, control).p_value
    if not treatment.variance + control.variance:
        return Estimate(lift, lift, lift, p_value)
    t2 = float(stats.t.ppf(1 - ALPHA / 2, _freedom(treatment, control))) ** 2
    a = control.value**2 - t2 * control.variance
    b = treatment.value * control.value
    c = treatment.value**2 - t2 * treatment.variance
    if a <= 0:
        return Estimate(lift, -math.inf, math.inf, p_value)
    root = math.sqrt(max(b * b - a * c, 0.0))
    return Estimate(lift, (b - root) / a - 1, (b + root) / a - 1, p_value)


def estimate_paired_lift(treatment: ArrayLike, control: ArrayLike) -> Estimate:
    """Lift sum t_u / sum c_u - 1 of users who all had both policies, which only a simulation can do; arrays (U,).

    A ratio of sums whose interval is the delta method's (`ratio_of`): what differs between users, how often they come
    above all, is in both sums and cancels. Assumes that users are independent, and holds for users like these; of an
    environment that is wrong it knows nothing. Raises ValueError when the control sums to 0.
    """
    ratio = ratio_of(treatment, control)
    return estimate_difference(Mean(ratio.value - 1, ratio.variance, ratio.freedom), Mean(0.0, 0.0, ratio.freedom))


def _freedom(first: Mean, second: Mean) -> float:
    total = first.variance + second.variance
    return total**2 / (first.variance**2 / first.freedom + second.variance**2 / second.freedom)


@dataclass(frozen=True)
class Cuped:
    """Both arms' adjusted means, the coefficient theta, the correlation rho, and 1 - (adjusted / plain variance)."""

    treatment: Mean
    control: Mean
    theta: float
    rho: float
    variance_reduction: float


def estimate_cuped(treatment: ArrayLike, control: ArrayLike, pre_treatment: ArrayLike, pre_control: ArrayLike) -> Cuped:
    """Means adjusted by a covariate from before the test: Y_u - theta (X_u - mean X), theta = cov(X, Y) / var(X).

    theta is pooled within arms, so that a true effect does not enter it; mean X is over both arms. The variance falls
    by rho^2, the squared correlation of X and Y. Assumes that X is not touched by the treatment: it must be measured
    before. theta is estimated, which costs O(1/U). Reference: Deng, Xu, Kohavi, Walker, WSDM 2013.
    """
    outcome = [np.asarray(values, np.float64) for values in (treatment, control)]
    before = [np.asarray(values, np.float64) for values in (pre_treatment, pre_control)]
    x = np.concatenate([values - values.mean() for values in before])
    y = np.concatenate([values - values.mean() for values in outcome])
    xx, xy, yy = float(x @ x), float(x @ y), float(y @ y)
    theta = xy / xx if xx else 0.0
    rho = xy / math.sqrt(xx * yy) if xx and yy else 0.0
    centre = float(np.concatenate(before).mean())
    adjusted = [mean_of(values - theta * (pre - centre)) for values, pre in zip(outcome, before, strict=True)]
    return Cuped(adjusted[0], adjusted[1], theta, rho, rho**2)


@dataclass(frozen=True)
class SampleRatio:
    """Chi-square of the arms' user counts against their shares; `alarm` when p < SRM_ALARM."""

    chi_square: float
    p_value: float
    alarm: bool


def check_sample_ratio(counts: Sequence[int], shares: Sequence[float] = (0.5, 0.5)) -> SampleRatio:
    """Sample-ratio mismatch: sum (observed - expected)^2 / expected, chi-square with arms - 1 degrees of freedom.

    An alarm means that the assignment or the logging is broken and the result is not to be read.
    Reference: Fabijan et al., KDD 2019.
    """
    expected = np.asarray(shares) * sum(counts)
    chi_square, p_value = stats.chisquare(np.asarray(counts), expected)
    return SampleRatio(float(chi_square), float(p_value), bool(p_value < SRM_ALARM))


def minimum_detectable_effect(deviation: float, num_treatment: int, num_control: int, power: float = 0.8) -> float:
    """Smallest true difference of means found with probability `power`: (z_{1-ALPHA/2} + z_power) * standard error.

    Standard error = deviation sqrt(1 / U_t + 1 / U_c), deviation the users' standard deviation (from before the test).
    Reference: Kohavi, Tang, Xu, Trustworthy Online Controlled Experiments (2020), chapter 17.
    """
    error = deviation * math.sqrt(1 / num_treatment + 1 / num_control)
    return float(stats.norm.ppf(1 - ALPHA / 2) + stats.norm.ppf(power)) * error


def power_of(difference: float, deviation: float, num_treatment: int, num_control: int) -> float:
    """Probability that the two-sided test rejects when the true difference of means is `difference`.

    Phi(d - z) + Phi(-d - z), d = difference / standard error, z = z_{1-ALPHA/2}. Normal approximation, as above.
    """
    error = deviation * math.sqrt(1 / num_treatment + 1 / num_control)
    d, z = difference / error, float(stats.norm.ppf(1 - ALPHA / 2))
    return float(stats.norm.cdf(d - z) + stats.norm.cdf(-d - z))


@dataclass(frozen=True)
class FalsePositives:
    """Share of A/A runs with p < ALPHA, and the band that holds the share of a valid test with 99 % probability."""

    rate: float
    low: float
    high: float
    runs: int


def check_false_positives(outcome: ArrayLike, in_treatment_RU: NDArray[np.bool_]) -> FalsePositives:
    """A/A runs: Welch's test of the same outcomes (U,) under R splits (R, U) that treat nobody.

    The band is binomial, Bin(R, ALPHA) / R at 0.5 % and 99.5 %; splits of one sample of users are close to independent
    when users are many. Raises ValueError for a split that leaves an arm with fewer than two users.
    """
    values = np.asarray(outcome, np.float64)
    p_values = [
        estimate_difference(mean_of(values[split]), mean_of(values[~split])).p_value for split in in_treatment_RU
    ]
    runs = len(p_values)
    low, high = stats.binom.ppf([0.005, 0.995], runs, ALPHA) / runs
    return FalsePositives(float(np.mean(np.asarray(p_values) < ALPHA)), float(low), float(high), runs)
