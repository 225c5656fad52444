"""Sample-ratio mismatch: do the arms have the users they were meant to have?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.special import chdtrc

SRM_ALARM = 0.001  # METHODS: an alarm that stops reading the result must be rare where nothing is wrong


@dataclass(frozen=True)
class SampleRatio:
    """Chi-square of the arms' user counts against their shares; `alarm` when p < SRM_ALARM."""

    chi_square: float
    p_value: float
    alarm: bool


def check_sample_ratio(counts: Sequence[int], shares: Sequence[float] = (0.5, 0.5)) -> SampleRatio:
    """Sample-ratio mismatch: sum (observed - expected)^2 / expected, chi-square with arms - 1 degrees of freedom.

    `counts` and `shares`: users of each arm and the share of all users it was to get, (A,). Assumes that each user is
    assigned on its own. An alarm means that the assignment or the logging is broken and the result is not to be read.
    Reference: Fabijan et al., KDD 2019.
    """
    expected = np.asarray(shares, np.float64) * sum(counts)
    chi_square = float((np.square(np.asarray(counts) - expected) / expected).sum())
    p_value = float(chdtrc(len(expected) - 1, chi_square))
    return SampleRatio(chi_square, p_value, p_value < SRM_ALARM)


def users_to_see_imbalance(actual: Sequence[float], shares: Sequence[float] = (0.5, 0.5), power: float = 0.8) -> int:
    """Users of all arms with which the check alarms with probability `power` when the shares are in truth `actual`.

    The statistic is about noncentral chi-square, noncentrality U sum (actual - share)^2 / share; arrays (A,).
    Reference: Cohen, Statistical Power Analysis (1988), chapter 7. Raises ValueError where `actual` is `shares`.
    """
    planned, wrong = np.asarray(shares, np.float64), np.asarray(actual, np.float64)
    per_user = float((np.square(wrong - planned) / planned).sum())
    if not per_user:
        raise ValueError("the actual shares are the planned ones; there is no imbalance to see")
    freedom = len(planned) - 1
    limit = stats.chi2.isf(SRM_ALARM, freedom)
    needed = brentq(lambda noncentrality: stats.ncx2.sf(limit, freedom, noncentrality) - power, 1e-6, 1e4)
    return math.ceil(needed / per_user)
