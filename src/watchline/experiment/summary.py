"""The content of reports/abtest/metrics.json: one test analysed, with its checks, as plain numbers."""

# U users, R splits

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watchline.experiment import analysis, estimators, plain, planning
from watchline.experiment import statistics as st
from watchline.experiment.assignment import assign
from watchline.experiment.decision import Guarded, decide
from watchline.experiment.environments import Environment
from watchline.experiment.policies import Policy
from watchline.experiment.simulation import Simulation
from watchline.experiment.statistics import UserOutcomes
from watchline.experiment.totals import outcomes_of

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """How users are split, how often an A/A split is tried, and the losses that guardrails accept (name -> share)."""

    salt: str
    treatment_share: float  # of all treatments together, who have equal parts of it
    false_positive_runs: int
    margins: Mapping[str, float] = field(default_factory=dict)
    smallest_lift: float = 0.02  # that matters: what power before the run is for

    def shares(self, num_treatments: int) -> list[float]:
        """Shares of the control and of each treatment."""
        return [1 - self.treatment_share, *[self.treatment_share / num_treatments] * num_treatments]

    def split(self, users: NDArray[np.int64], num_treatments: int) -> NDArray[np.int64]:
        """The arm (U,) of each user: 0 is the control."""
        return assign(users, self.salt, self.shares(num_treatments))

    def split_again(self, users: NDArray[np.int64], suffix: str) -> Bools:
        """Another, independent split in two: which users (U,) would be in treatment."""
        return assign(users, self.salt + suffix, self.shares(1)) == 1


def summarise(
    simulation: Simulation,
    arms: Mapping[str, Policy],
    pre_watch_s: Floats,
    environment: Environment,
    plan: Plan,
) -> dict[str, Any]:
    """Everything the page and later stages read, but for what was asked; `pre_watch_s` (U,) is from before the test.

    The top level is about `treatment`; `more_arms` has the others. `true_lift` is there only where the environment is
    the truth; otherwise `expected_lift` is the environment's belief.
    """
    outcomes = {
        arm: outcomes_of(totals, simulation.user_N, len(simulation.users), pre_watch_s)
        for arm, totals in simulation.totals.items()
    }
    arm_of = plan.split(simulation.users, len(arms) - 1)
    members = {arm: arm_of == number for number, arm in enumerate(arms)}
    seen = {arm: outcomes[arm].of(members[arm]) for arm in arms}
    sizes = [int(mask.sum()) for mask in members.values()]
    sample_ratio = st.check_sample_ratio(sizes, plan.shares(len(arms) - 1))
    found = analysis.compare_arms(seen["treatment"], seen["control"])
    guardrails = st.check_guardrails(seen["treatment"], seen["control"], plan.margins)
    q_values = estimators.q_values(found, guardrails)
    compared = members["treatment"] | members["control"]
    share = sizes[1] / (sizes[0] + sizes[1])
    planned = planning.outlook(pre_watch_s[compared], plan.smallest_lift, share)
    looks = planning.sequence(simulation, arm_of, planned["detectable_lift"] if planned else 0.0)
    more_arms = _more_arms(simulation, seen, environment)
    p_corrected = more_arms["treatment"]["p_corrected"] if more_arms else None
    guarded, names = Guarded.of(guardrails, q_values), (arms["treatment"].name, arms["control"].name)
    decision = decide(found.watch_per_user.lift, sample_ratio, names, environment.name, guarded, p_corrected)
    return {
        "environment": environment.name,
        "arms": {arm: _arm(arms[arm], seen[arm], simulation, arm) for arm in arms},
        **_comparison_of(found),
        "bootstrap": estimators.bootstrapped(seen["treatment"], seen["control"]),
        "both_arms": estimators.both_arms(outcomes["treatment"], outcomes["control"]),
        "srm_p": sample_ratio.p_value,
        "srm_alarm": sample_ratio.alarm,
        "srm_users_for_one_percent": _users_for_one_percent(plan.shares(len(arms) - 1)),
        "guardrails": {rail.name: plain.guardrail(rail) for rail in guardrails},
        "q_values": q_values,
        "aa": _same_arm_twice(outcomes["control"], simulation.users, plan),
        "minimum_detectable_lift": _detectable_lift(outcomes["control"].watch_s, members, found.cuped.rho),
        "expected_s_per_exposure": simulation.page_s,
        "verdict": asdict(decision),
        **_expected(simulation, "treatment", environment),
        "outlook": planned,
        "sequence": looks,
        "more_arms": more_arms,
    }


def _comparison_of(found: analysis.Result) -> dict[str, Any]:
    """One treatment against the control."""
    return {
        **plain.estimate(found.watch_per_user.lift, "lift"),
        "metrics": {name: plain.comparison(getattr(found, name)) for name in analysis.COMPARISONS},
        "cuped": {
            **plain.estimate(found.watch_per_user_cuped.lift, "lift"),
            "theta": found.cuped.theta,
            "rho": found.cuped.rho,
            "variance_reduction": found.cuped.variance_reduction,
        },
    }


def _expected(simulation: Simulation, arm: str, environment: Environment) -> dict[str, Any]:
    """`true_lift` or `expected_lift` of an arm over the control, and its Monte Carlo error."""
    name = "true_lift" if environment.is_truth else "expected_lift"
    lift = analysis.expected_lift(simulation.expectations[arm], simulation.expectations["control"])
    return {name: lift.value, f"{name}_error": lift.error if math.isfinite(lift.error) else None}


def _more_arms(
    simulation: Simulation, seen: Mapping[str, UserOutcomes], environment: Environment
) -> dict[str, dict[str, Any]]:
    """Every treatment against the control where there are several, with p-values corrected over them (Holm)."""
    treatments = {arm: st.mean_of(outcomes.watch_s) for arm, outcomes in seen.items() if arm != "control"}
    if len(treatments) < 2:
        return {}
    compared = st.compare_arms_with_control(treatments, st.mean_of(seen["control"].watch_s))
    return {
        each.arm: {
            **_comparison_of(analysis.compare_arms(seen[each.arm], seen["control"])),
            "p_corrected": each.p_corrected,
            **_expected(simulation, each.arm, environment),
        }
        for each in compared
    }


def _arm(policy: Policy, seen: UserOutcomes, simulation: Simulation, arm: str) -> dict[str, Any]:
    """Who an arm is, what its users did, and what all users' sessions would come to under it."""
    expectation, sessions = simulation.expectations[arm], len(simulation.user_N)
    return {
        "model": policy.name,
        "statistic": policy.statistic,
        "epsilon": policy.epsilon,
        "temperature": policy.temperature,
        "users": len(seen.watch_s),
        "requests": int(seen.sessions.sum()),
        "exposures": int(seen.exposures.sum()),
        "expected_watch_s_per_session": float(expectation.watch_s_R.mean()) / sessions,
        "expected_exposures_per_session": float(expectation.exposures_R.mean()) / sessions,
    }


def _same_arm_twice(control: UserOutcomes, users: NDArray[np.int64], plan: Plan) -> dict[str, Any]:
    """The A/A test: the control's answers under another split, and the rate of false positives over many."""
    split = plan.split_again(users, "-aa")
    same = analysis.compare_arms(control.of(split), control.of(~split))
    sample_ratio = st.check_sample_ratio([int((~split).sum()), int(split.sum())], plan.shares(1))
    splits_RU = np.stack([plan.split_again(users, f"-aa-{run}") for run in range(plan.false_positive_runs)])
    rate = st.check_false_positives(control.watch_s, splits_RU)
    return {
        **plain.estimate(same.watch_per_user.lift, "lift"),
        "srm_p": sample_ratio.p_value,
        "false_positive_rate": rate.rate,
        "false_positive_band": {"low": rate.low, "high": rate.high},
        "runs": rate.runs,
    }


def _users_for_one_percent(shares: list[float]) -> int:
    """Users of all arms with which the check of the sample ratio sees a control that is 1 % too large."""
    actual = [1.01 * shares[0], *shares[1:]]
    return st.users_to_see_imbalance([share / sum(actual) for share in actual], shares)


def _detectable_lift(watch_s: Floats, members: Mapping[str, Bools], rho: float) -> dict[str, float | None]:
    """Smallest lift found with a power of 80 %, without and with CUPED, from the control's spread over users."""
    if not watch_s.mean():
        return {"plain": None, "cuped": None}
    numbers = int(members["treatment"].sum()), int(members["control"].sum())
    plain = st.minimum_detectable_effect(float(watch_s.std(ddof=1)), *numbers) / float(watch_s.mean())
    return {"plain": plain, "cuped": plain * math.sqrt(1 - rho**2)}
