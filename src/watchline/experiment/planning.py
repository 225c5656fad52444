"""What the test could find before it ran, and what it would have said at every look while it ran, as plain numbers."""

# U users in order of arrival, L looks

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from watchline.experiment import statistics as st

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

LOOKS = 20
_FIRST_LOOK = 50  # users: a variance is taken as known from tens in each arm on


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


def sequence(watch_s: Floats, in_treatment: Bools, user_N: Ints, detectable_s: float) -> dict[str, Any] | None:
    """LOOKS looks, each after as many more users; `watch_s` and `in_treatment` are by user (U,), NaN in other arms.

    A look has the users whose first session (`user_N`: each session's user, in order of time) came before it, with all
    they watched. tau is what was detectable before the run, in seconds of the users' time then: a choice from the
    test's own answers would cost validity, one a few times too large or small costs little. None for too few users.
    """
    users, first_N = np.unique(user_N, return_index=True)
    order_U = users[np.argsort(first_N, kind="stable")]
    order_U = order_U[np.isfinite(watch_s[order_U])]
    looks = np.unique(np.linspace(0, len(order_U), LOOKS + 1)[1:].astype(np.int64))
    treated_U = in_treatment[order_U]
    looks = np.array([n for n in looks if n >= _FIRST_LOOK and min(treated_U[:n].sum(), (~treated_U[:n]).sum()) > 1])
    if not len(looks) or not detectable_s:
        return None
    tau = st.mixing_deviation(detectable_s)
    found = st.trajectory_by_users(watch_s[order_U], treated_U, looks.tolist(), tau)
    return {
        "users": looks.tolist(),
        "value": found.value_L,
        "low": [_number(bound) for bound in found.low_L],
        "high": [_number(bound) for bound in found.high_L],
        "p_value": found.p_value_L,
        "stopped_at_users": None if found.stopped_at is None else int(looks[found.stopped_at]),
        "consistent": found.is_consistent,
    }


def _number(bound: float) -> float | None:
    return float(bound) if np.isfinite(bound) else None
