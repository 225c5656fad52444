"""The content of reports/abtest/metrics.json: one test analysed, with its checks, as plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watchline.experiment import analysis
from watchline.experiment import statistics as st
from watchline.experiment.assignment import assign
from watchline.experiment.environments import Environment
from watchline.experiment.policies import Policy
from watchline.experiment.simulation import Simulation

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Plan:
    """How users are split and how often an A/A split is tried."""

    salt: str
    treatment_share: float
    false_positive_runs: int

    def split(self, users: NDArray[np.int64], suffix: str = "") -> Bools:
        """Which users (U,) are in treatment; another `suffix` is another, independent split."""
        return assign(users, self.salt + suffix, [1 - self.treatment_share, self.treatment_share]) == 1


def summarise(
    simulation: Simulation,
    arms: Mapping[str, Policy],
    pre_watch_s: NDArray[np.float64],
    environment: Environment,
    plan: Plan,
) -> dict[str, Any]:
    """Everything the page and later stages read, but for what was asked; `pre_watch_s` (U,) is from before the test.

    `true_lift` is there only where the environment is the truth; otherwise `expected_lift` is the environment's belief.
    """
    control, treatment = simulation.totals("control"), simulation.totals("treatment")
    in_treatment = plan.split(simulation.users)
    found = analysis.compare_arms(treatment, control, in_treatment, pre_watch_s, plan.treatment_share)
    status, text = analysis.decide(found, arms["treatment"].name, arms["control"].name)
    result: dict[str, Any] = {
        "environment": environment.name,
        "arms": _arms(simulation, arms, in_treatment),
        **_estimate(found.watch_per_user.lift, "lift"),
        "srm_p": found.sample_ratio.p_value,
        "metrics": {
            name: _comparison(getattr(found, name))
            for name in ("watch_per_user", "watch_per_user_cuped", "watch_per_exposure", "skips_per_exposure")
        },
        "cuped": {
            **_estimate(found.watch_per_user_cuped.lift, "lift"),
            "theta": found.cuped.theta,
            "rho": found.cuped.rho,
            "variance_reduction": found.cuped.variance_reduction,
        },
        "aa": _same_arm_twice(control, simulation.users, pre_watch_s, plan),
        "minimum_detectable_lift": _detectable_lift(control.watch_s, in_treatment, found.cuped.rho),
        "expected_s_per_exposure": analysis.headroom(simulation.mean_NC, simulation.shown),
        "verdict": {"status": status, "text": text},
    }
    answers = simulation.expected("treatment"), simulation.expected("control")
    result["both_arms"] = _estimate(analysis.lift_of_both(*answers, simulation.user_N), "lift")
    expected = analysis.expected_lift(*answers)
    result["true_lift" if environment.is_truth else "expected_lift"] = expected
    return result


def _arms(simulation: Simulation, arms: Mapping[str, Policy], in_treatment: Bools) -> dict[str, dict[str, Any]]:
    summary = {}
    for arm, members in (("control", ~in_treatment), ("treatment", in_treatment)):
        requests = int(members[simulation.user_N].sum())
        summary[arm] = {
            "model": arms[arm].name,
            "statistic": arms[arm].statistic,
            "users": int(members.sum()),
            "requests": requests,
            "exposures": requests * simulation.shown[arm].shape[1],
        }
    return summary


def _same_arm_twice(
    control: analysis.UserTotals, users: NDArray[np.int64], pre_watch_s: NDArray[np.float64], plan: Plan
) -> dict[str, Any]:
    """The A/A test: the control's answers under another split, and the rate of false positives over many."""
    same = analysis.compare_arms(control, control, plan.split(users, "-aa"), pre_watch_s, plan.treatment_share)
    splits_RU = np.stack([plan.split(users, f"-aa-{run}") for run in range(plan.false_positive_runs)])
    rate = st.check_false_positives(control.watch_s, splits_RU)
    return {
        **_estimate(same.watch_per_user.lift, "lift"),
        "srm_p": same.sample_ratio.p_value,
        "false_positive_rate": rate.rate,
        "false_positive_band": {"low": rate.low, "high": rate.high},
        "runs": rate.runs,
    }


def _detectable_lift(watch_s: NDArray[np.float64], in_treatment: Bools, rho: float) -> dict[str, float | None]:
    """Smallest lift found with a power of 80 %, without and with CUPED, from the control's spread over users."""
    if not watch_s.mean():
        return {"plain": None, "cuped": None}
    numbers = int(in_treatment.sum()), int((~in_treatment).sum())
    plain = st.minimum_detectable_effect(float(watch_s.std(ddof=1)), *numbers) / float(watch_s.mean())
    return {"plain": plain, "cuped": plain * math.sqrt(1 - rho**2)}


def _comparison(comparison: analysis.Comparison) -> dict[str, Any]:
    return {
        "control": comparison.control,
        "treatment": comparison.treatment,
        "difference": _estimate(comparison.difference, "value"),
        **_estimate(comparison.lift, "lift"),
    }


def _estimate(estimate: st.Estimate | None, name: str) -> dict[str, Any]:
    """A dict of an estimate; a bound that the data cannot give is null."""
    values = vars(estimate) if estimate else dict.fromkeys(("value", "low", "high", "p_value"), math.nan)
    plain = {key: value if math.isfinite(value) else None for key, value in values.items()}
    interval = {"low": plain["low"], "high": plain["high"]}
    return {name: plain["value"], "interval": interval, "p_value": plain["p_value"]}
