"""From users' outcomes and expectations to what a test is read by: comparisons and truth."""

# U users, R runs of the expectation

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from watchline.experiment import statistics as st
from watchline.experiment.sessions import Expectation
from watchline.experiment.statistics import Comparison, UserOutcomes

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Result:
    """Everything measured of one treatment against the control."""

    watch_per_user: Comparison
    watch_per_user_cuped: Comparison
    watch_per_exposure: Comparison
    skips_per_exposure: Comparison
    completions_per_exposure: Comparison
    exposures_per_session: Comparison
    cuped: st.Cuped


# The comparisons of a Result in the order in which they are shown.
COMPARISONS = (
    "watch_per_user",
    "watch_per_user_cuped",
    "watch_per_exposure",
    "exposures_per_session",
    "skips_per_exposure",
    "completions_per_exposure",
)


def compare_arms(treatment: UserOutcomes, control: UserOutcomes) -> Result:
    """Compare the users of one arm with those of another. Raises ValueError for an arm with fewer than two users."""
    cuped = st.estimate_cuped(treatment.watch_s, control.watch_s, treatment.pre_watch_s, control.pre_watch_s)

    def ratio(numerator: str, denominator: str) -> Comparison:
        arms = ((getattr(arm, numerator), getattr(arm, denominator)) for arm in (treatment, control))
        return Comparison.of(*(st.ratio_of(*arm) for arm in arms))

    return Result(
        watch_per_user=Comparison.of(st.mean_of(treatment.watch_s), st.mean_of(control.watch_s)),
        watch_per_user_cuped=Comparison.of(cuped.treatment, cuped.control),
        watch_per_exposure=ratio("watch_s", "exposures"),
        skips_per_exposure=ratio("skips", "exposures"),
        completions_per_exposure=ratio("completions", "exposures"),
        exposures_per_session=ratio("exposures", "sessions"),
        cuped=cuped,
    )


@dataclass(frozen=True)
class ExpectedLift:
    """Lift of the expected watch time over all users' sessions, and its Monte Carlo standard error over the runs."""

    value: float
    error: float


def expected_lift(treatment: Expectation, control: Expectation) -> ExpectedLift:
    """What a test of the two policies estimates: every user's sessions under each, sum over sum, minus 1.

    With T_r and C_r of run r: q = mean T / mean C; error = sd(T_r - q C_r) / (mean C sqrt(R)), the delta method of a
    ratio whose runs are paired by common random numbers; NaN for a single run.
    """
    t_R, c_R = treatment.watch_s_R, control.watch_s_R
    ratio = float(t_R.mean() / c_R.mean())
    if len(t_R) < 2:
        return ExpectedLift(ratio - 1, math.nan)
    spread = float((t_R - ratio * c_R).std(ddof=1))
    return ExpectedLift(ratio - 1, spread / (float(c_R.mean()) * math.sqrt(len(t_R))))
