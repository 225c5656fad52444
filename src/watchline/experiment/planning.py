"""What the test could find before it ran, and what it would have said at every look while it ran, as plain numbers."""

# N sessions in order of time, n of them of the two arms compared; U users, L looks

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watchline.experiment import statistics as st
from watchline.experiment.plain import number
from watchline.experiment.simulation import Simulation

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

LOOKS = 20
MIN_LOOK_USERS = 25  # with watch time, in each arm: mSPRT takes the variance for known (docs/ab_statistics.md)


def outlook(pre_watch_s: Floats, smallest_lift: float, treatment_share: float) -> dict[str, Any] | None:
    """Power of a test of users like those of the pre-period, (U,) seconds; None where nobody had watched."""
    if not pre_watch_s.any():
        return None
    planned = st.plan_test(pre_watch_s, smallest_lift, treatment_share)
    treatment, control = planned.users_needed
    return {
        "smallest_lift": smallest_lift,
        "power": planned.power,
        "detectable_lift": planned.detectable_lift,
        "users_needed": {"treatment": treatment, "control": control},
    }


def sequence(simulation: Simulation, arm_U: Ints, detectable_lift: float) -> dict[str, Any] | None:
    """LOOKS looks at the lift of watch time per session, each after as many more sessions of treatment and control.

    A look knows what had happened by then: the sessions so far, of users who come back too. `arm_U`: the arm of each
    user, 0 the control and 1 the treatment. An arm adds no session, so this lift estimates that of watch time per user,
    without the noise of how many sessions users have. tau is the lift that was detectable before the run: a choice from
    the test's own answers would cost validity, one a few times too large or small costs little. None for too few users.
    """
    kept_n = np.flatnonzero(arm_U[simulation.user_N] <= 1)
    if not len(kept_n) or not detectable_lift:
        return None
    user_n, in_treatment = simulation.user_N[kept_n], arm_U == 1
    control_s, treatment_s = (simulation.totals[arm].watch_s[kept_n] for arm in ("control", "treatment"))
    period_n = np.arange(len(kept_n)) * LOOKS // len(kept_n)
    watch_LU = _by_period(period_n, user_n, np.where(in_treatment[user_n], treatment_s, control_s), len(arm_U))
    sessions_LU = _by_period(period_n, user_n, np.ones(len(kept_n)), len(arm_U))
    looks = [look for look in range(LOOKS) if can_look(watch_LU[look], in_treatment)]
    if not looks:
        return None
    watch_LU, sessions_LU = (np.diff(sums_LU[looks], axis=0, prepend=0.0) for sums_LU in (watch_LU, sessions_LU))
    tau = st.mixing_deviation(math.log1p(detectable_lift))
    found = st.trajectory_by_period(watch_LU, sessions_LU, in_treatment, tau)
    sessions = np.searchsorted(period_n, looks, side="right")
    days = [simulation.day_N[int(kept_n[last - 1])].isoformat() for last in sessions]
    stop = found.stopped_at
    return {
        "sessions": sessions.tolist(),
        "days": days,
        "lift": found.value_L,
        "low": [number(bound) for bound in found.low_L],
        "high": [number(bound) for bound in found.high_L],
        "p_value": found.p_value_L,
        "stopped_at": None if stop is None else {"sessions": int(sessions[stop]), "day": days[stop]},
        "consistent": found.is_consistent,
    }


def _by_period(period_n: Ints, user_n: Ints, value_n: Floats, num_users: int) -> Floats:
    """Each user's sum over all periods so far (L, U)."""
    sums = np.bincount(period_n * num_users + user_n, value_n, minlength=LOOKS * num_users)
    return sums.reshape(LOOKS, num_users).cumsum(axis=0)


def can_look(watch_U: Floats, in_treatment: Bools, min_users: int = MIN_LOOK_USERS) -> bool:
    """Whether each arm has `min_users` with watch time so far (U,), seconds; all users together do not count.

    An arm of a small share starts with a handful, whose variance is anything, however large the other arm is.
    """
    return all(np.count_nonzero(watch_U[arm]) >= min_users for arm in (in_treatment, ~in_treatment))
