"""What a test can find, before it runs: power, minimum detectable effect, and the users that an effect asks for.

U_t users in treatment, U_c in control, of outcome's standard deviation s over users: the standard error of the
difference is s sqrt(1 / U_t + 1 / U_c). Normal approximation of the two-sided test at ALPHA; equal variances.
Reference: Kohavi, Tang, Xu, Trustworthy Online Controlled Experiments (2020), chapter 17.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from watchline.experiment.statistics.means import Z

POWER = 0.8


def minimum_detectable_effect(deviation: float, num_treatment: int, num_control: int, power: float = POWER) -> float:
    """Smallest true difference of means found with probability `power`: (z_{1-ALPHA/2} + z_power) * standard error.

    `deviation`: the users' standard deviation, from before the test.
    """
    return (Z + float(ndtri(power))) * _error(deviation, num_treatment, num_control)


def power_of(difference: float, deviation: float, num_treatment: int, num_control: int) -> float:
    """Probability that the two-sided test rejects when the true difference of means is `difference`.

    Phi(d - z) + Phi(-d - z), d = difference / standard error, z = z_{1-ALPHA/2}.
    """
    d = difference / _error(deviation, num_treatment, num_control)
    return float(ndtr(d - Z) + ndtr(-d - Z))


def required_users(
    difference: float, deviation: float, treatment_share: float = 0.5, power: float = POWER
) -> tuple[int, int]:
    """Users (treatment, control) with which a true `difference` is found with probability `power`.

    U_t = f (z_{1-ALPHA/2} + z_power)^2 s^2 (1 / f + 1 / (1 - f)) / difference^2, f = `treatment_share`; U_c alike.
    Reference: that of the module. Raises ValueError for a difference of 0.
    """
    if not difference:
        raise ValueError("no number of users finds a difference of 0; name the smallest one that matters")
    in_errors = (Z + float(ndtri(power))) * deviation / difference
    users = in_errors**2 * (1 / treatment_share + 1 / (1 - treatment_share))
    return math.ceil(treatment_share * users), math.ceil((1 - treatment_share) * users)


def _error(deviation: float, num_treatment: int, num_control: int) -> float:
    return deviation * math.sqrt(1 / num_treatment + 1 / num_control)


@dataclass(frozen=True)
class Outlook:
    """What a planned test can find; lifts are relative to the pre-period's mean."""

    detectable_lift: float  # with probability POWER
    power: float  # for the lift asked about
    users_needed: tuple[int, int]  # treatment, control: for that lift with probability POWER


def plan_test(pre_period: ArrayLike, lift: float, treatment_share: float = 0.5) -> Outlook:
    """What a test of the users of a pre-period will find if it lasts as long: their outcomes then, (U,).

    Assumes that the test's users vary as these do. Reference: that of the module. Raises ValueError for
    fewer than two users in an arm or a mean that is not positive.
    """
    before = np.asarray(pre_period, np.float64)
    num_treatment = round(treatment_share * len(before))
    num_control = len(before) - num_treatment
    if min(num_treatment, num_control) < 2 or before.mean() <= 0:
        raise ValueError(
            f"{len(before)} users of the pre-period with mean {before.mean() if len(before) else 0:g} plan no test; "
            "it takes two or more in each arm and a positive mean"
        )
    mean, deviation = float(before.mean()), float(before.std(ddof=1))
    return Outlook(
        detectable_lift=minimum_detectable_effect(deviation, num_treatment, num_control) / mean,
        power=power_of(lift * mean, deviation, num_treatment, num_control),
        users_needed=required_users(lift * mean, deviation, treatment_share),
    )
