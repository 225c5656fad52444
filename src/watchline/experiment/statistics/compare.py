"""Two arms compared: the difference of their means by Welch, the relative lift by Fieller."""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from watchline.experiment.statistics.means import ALPHA, Mean, ratio_of


@dataclass(frozen=True)
class Estimate:
    """A value, its 95 % interval (infinite where the data cannot bound it) and the p-value of "there is no effect"."""

    value: float
    low: float
    high: float
    p_value: float


def estimate_difference(treatment: Mean, control: Mean) -> Estimate:
    """Difference of two means by Welch: T - C +- t(nu) sqrt(V_t + V_c), nu by Satterthwaite.

    nu = (V_t + V_c)^2 / (V_t^2 / nu_t + V_c^2 / nu_c); variances may differ between arms. Assumes that the means are
    about normal. Reference: Welch, Biometrika 34 (1947).
    """
    difference, error = treatment.value - control.value, math.sqrt(treatment.variance + control.variance)
    if not error:
        return Estimate(difference, difference, difference, 1.0 if difference == 0 else 0.0)
    nu = _freedom(treatment, control)
    reach = float(stdtrit(nu, 1 - ALPHA / 2)) * error
    p_value = 2 * float(stdtr(nu, -abs(difference) / error))
    return Estimate(difference, difference - reach, difference + reach, p_value)


def estimate_lift(treatment: Mean, control: Mean) -> Estimate:
    """Relative lift T / C - 1 with Fieller's interval: all ratios q for which T - q C is within its own t interval.

    With g = t^2 V_c / C^2: q = (T C +- sqrt(T^2 C^2 - (C^2 - t^2 V_c)(T^2 - t^2 V_t))) / (C^2 - t^2 V_c).
    For g < 1 it holds 0 when Welch's test at the same level does not reject, and only then, which the delta
    method does not promise; for g >= 1 the control's mean is not told from 0, no finite interval keeps the level, and
    the whole line is given: wider than Fieller's set there, which may be two rays, so that it holds 0 though Welch may
    reject. The p-value is Welch's.
    Reference: Fieller, JRSS B 16 (1954). Raises ValueError for a control whose mean is not positive.
    """
    if control.value <= 0:
        raise ValueError(f"no relative lift over a control whose mean is {control.value}; read the difference instead")
    lift = treatment.value / control.value - 1
    p_value = estimate_difference(treatment, control).p_value
    if not treatment.variance + control.variance:
        return Estimate(lift, lift, lift, p_value)
    t2 = float(stdtrit(_freedom(treatment, control), 1 - ALPHA / 2)) ** 2
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
    environment that is wrong it knows nothing. Reference: Cochran, Sampling Techniques (1977), chapter 6.
    Raises ValueError when the control sums to 0.
    """
    ratio = ratio_of(treatment, control)
    return estimate_difference(Mean(ratio.value - 1, ratio.variance, ratio.freedom), Mean(0.0, 0.0, ratio.freedom))


def _freedom(first: Mean, second: Mean) -> float:
    total = first.variance + second.variance
    return total**2 / (first.variance**2 / first.freedom + second.variance**2 / second.freedom)


@dataclass(frozen=True)
class Comparison:
    """One quantity in both arms: its means, their difference, and the relative lift (None over a zero mean)."""

    control: float
    treatment: float
    difference: Estimate
    lift: Estimate | None

    @classmethod
    def of(cls, treatment: Mean, control: Mean) -> Comparison:
        """Welch's difference and Fieller's lift of two means."""
        lift = estimate_lift(treatment, control) if control.value > 0 else None
        return cls(control.value, treatment.value, estimate_difference(treatment, control), lift)
