"""From the answers of a simulated test to what its page says: users' totals, comparisons, truth, verdict."""

# N requests, K exposures shown in each, U users

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from watchline.experiment import statistics as st
from watchline.metrics import NEAR_ZERO_S

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class UserTotals:
    """Totals of each user (U,) under one policy: watch time in seconds, exposures, quick skips (under NEAR_ZERO_S)."""

    watch_s: Floats
    exposures: Floats
    skips: Floats

    @classmethod
    def of(cls, watch_NK: Floats, user_N: NDArray[np.int64], num_users: int) -> UserTotals:
        """Sum answers over the requests of each user; `user_N` numbers the users from 0."""

        def total(values_N: Floats) -> Floats:
            return np.bincount(user_N, values_N, minlength=num_users).astype(np.float64)

        skips_NK = (watch_NK < NEAR_ZERO_S).astype(np.float64)
        shown_N = np.full(len(watch_NK), float(watch_NK.shape[1]))
        return cls(total(watch_NK.sum(axis=1)), total(shown_N), total(skips_NK.sum(axis=1)))


@dataclass(frozen=True)
class Comparison:
    """One quantity in both arms: its means, their difference, and the relative lift (None over a zero mean)."""

    control: float
    treatment: float
    difference: st.Estimate
    lift: st.Estimate | None

    @classmethod
    def of(cls, treatment: st.Mean, control: st.Mean) -> Comparison:
        """Welch's difference and Fieller's lift of two means."""
        lift = st.estimate_lift(treatment, control) if control.value > 0 else None
        return cls(control.value, treatment.value, st.estimate_difference(treatment, control), lift)


@dataclass(frozen=True)
class Result:
    """Everything measured of one test."""

    watch_per_user: Comparison
    watch_per_user_cuped: Comparison
    watch_per_exposure: Comparison
    skips_per_exposure: Comparison
    cuped: st.Cuped
    sample_ratio: st.SampleRatio


def compare_arms(
    treatment: UserTotals, control: UserTotals, in_treatment: Bools, pre_watch_s: Floats, treatment_share: float
) -> Result:
    """Compare the users of treatment (their answers from `treatment`) with the rest (from `control`); arrays (U,).

    Raises ValueError when an arm has fewer than two users.
    """
    t, c = in_treatment, ~in_treatment
    cuped = st.estimate_cuped(treatment.watch_s[t], control.watch_s[c], pre_watch_s[t], pre_watch_s[c])
    return Result(
        watch_per_user=Comparison.of(st.mean_of(treatment.watch_s[t]), st.mean_of(control.watch_s[c])),
        watch_per_user_cuped=Comparison.of(cuped.treatment, cuped.control),
        watch_per_exposure=Comparison.of(
            st.ratio_of(treatment.watch_s[t], treatment.exposures[t]),
            st.ratio_of(control.watch_s[c], control.exposures[c]),
        ),
        skips_per_exposure=Comparison.of(
            st.ratio_of(treatment.skips[t], treatment.exposures[t]),
            st.ratio_of(control.skips[c], control.exposures[c]),
        ),
        cuped=cuped,
        sample_ratio=st.check_sample_ratio([int(c.sum()), int(t.sum())], [1 - treatment_share, treatment_share]),
    )


def expected_lift(treatment_NK: Floats, control_NK: Floats) -> float:
    """Lift of the expected watch time when both policies answer all the same requests: what the test estimates."""
    return float(treatment_NK.sum() / control_NK.sum() - 1)


def lift_of_both(treatment_NK: Floats, control_NK: Floats, user_N: NDArray[np.int64]) -> st.Estimate | None:
    """`expected_lift` with its interval over users, who all had both policies; None where there is none to speak of."""
    if not control_NK.sum() or user_N.max() < 1:
        return None
    return st.estimate_paired_lift(*(np.bincount(user_N, arm.sum(axis=1)) for arm in (treatment_NK, control_NK)))


def headroom(mean_NC: Floats, shown: Mapping[str, NDArray[np.int64]]) -> dict[str, float]:
    """Expected watch time per exposure, seconds: of each policy's flat choice (N, K), of chance, of the best choice."""
    top_k = next(iter(shown.values())).shape[1]
    best = np.sort(mean_NC, axis=1)[:, -top_k:]
    policies = {name: float(mean_NC.ravel()[rows].mean()) for name, rows in shown.items()}
    return {"random": float(mean_NC.mean()), **policies, "best": float(best.mean())}


def decide(result: Result, treatment: str, control: str) -> tuple[str, str]:
    """Status (pass, warn, fail, info) and sentence of the verdict, from the primary metric: watch time per user."""
    lift = result.watch_per_user.lift
    if result.sample_ratio.alarm:
        return "warn", (
            f"Do not read the result: the arms' user counts do not fit their shares (p = "
            f"{result.sample_ratio.p_value:.1e}), so the assignment is broken."
        )
    if lift is None:
        return "warn", f"{control} was not watched at all, so there is no lift to speak of."
    span = f"{lift.value:+.2%} watch time per user, 95 % interval {lift.low:+.2%} to {lift.high:+.2%}"
    if lift.low > 0:
        return "pass", f"Ship {treatment}: {span} against {control}."
    if lift.high < 0:
        return "fail", f"Do not ship {treatment}: {span} against {control}."
    return "info", f"Cannot tell {treatment} from {control}: {span}."
