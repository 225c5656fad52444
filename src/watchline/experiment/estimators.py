"""The lift by other estimators than the verdict's, and what else is compared, with q-values over all of it."""

# U users

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from watchline.experiment import plain
from watchline.experiment import statistics as st
from watchline.experiment.analysis import COMPARISONS, Result
from watchline.experiment.statistics import UserOutcomes

SECONDARY = tuple(name for name in COMPARISONS if not name.startswith("watch_per_user"))
# Guardrails on a quantity that is compared already: one quantity, one p-value.
SAME = {
    "completion_rate": "completions_per_exposure",
    "quick_skip_rate": "skips_per_exposure",
    "exposures_per_session": "exposures_per_session",
}


def bootstrapped(treatment: UserOutcomes, control: UserOutcomes) -> dict[str, dict[str, Any]]:
    """Lifts of watch time per user and per exposure by drawing users, as plain numbers; null over a control of 0."""
    denominators = {"watch_per_user": None, "watch_per_exposure": (treatment.exposures, control.exposures)}
    watched = bool(control.watch_s.sum())
    return {
        name: plain.estimate(
            st.estimate_by_bootstrap(treatment.watch_s, control.watch_s, shown) if watched else None, "lift"
        )
        for name, shown in denominators.items()
    }


def both_arms(treatment: UserOutcomes, control: UserOutcomes) -> dict[str, Any]:
    """Lift of all users' watch time under both policies, paired by user, as plain numbers; null where there is none."""
    has_lift = len(control.watch_s) > 1 and bool(control.watch_s.sum())
    found = st.estimate_paired_lift(treatment.watch_s, control.watch_s) if has_lift else None
    return plain.estimate(found, "lift")


def q_values(found: Result, guardrails: Sequence[st.Guardrail]) -> dict[str, float]:
    """Secondary quantity or guardrail -> its p-value corrected over all of them by Benjamini-Hochberg.

    The primary quantity, which the verdict is of, is none of them: it was chosen before the test.
    """
    compared = {name: getattr(found, name) for name in SECONDARY}
    compared |= {rail.name: rail.comparison for rail in guardrails if rail.name not in SAME}
    corrected = st.benjamini_hochberg([comparison.difference.p_value for comparison in compared.values()])
    q_of = dict(zip(compared, corrected, strict=True))
    return q_of | {rail.name: q_of[SAME[rail.name]] for rail in guardrails if rail.name in SAME}
