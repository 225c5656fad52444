"""The content of metrics.json where the random log answers: each policy's value, and how they compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from watchline.experiment import plain
from watchline.experiment.decision import CANNOT_TELL, DO_NOT_SHIP, TEST_ONLINE, by_answerer
from watchline.experiment.environments.replay import METHODS, Choices, ReplayEnvironment
from watchline.experiment.off_policy import PolicyValue, compare_policies
from watchline.experiment.policies import Policy
from watchline.experiment.statistics import ALPHA, holm

PRIMARY = "dr"  # right when either propensities or reward model are, and the propensities are


def summarise_replay(
    environment: ReplayEnvironment, policies: Mapping[str, Policy], choices: Mapping[str, Choices]
) -> dict[str, Any]:
    """Everything the page and later stages read, but for what was asked: mean watch time of the first video shown.

    Top-level `lift`, `interval` and `p_value` are of `treatment` over `control` by DR, paired by row, by user. DR
    lifts of several treatments have `p_corrected`, Holm's over them.
    """
    values = {arm: choices[arm].estimates() for arm in policies}
    comparisons = {arm: _compare(values[arm], values["control"]) for arm in policies if arm != "control"}
    if len(comparisons) > 1:
        _correct(comparisons)
    lift = comparisons["treatment"][PRIMARY]
    warnings = [f"{arm}: {text}" for arm in ("treatment", "control") for text in values[arm][PRIMARY].warnings]
    return {
        "environment": environment.name,
        "arms": {
            arm: {
                "model": policy.name,
                "statistic": policy.statistic,
                "epsilon": policy.epsilon,
                "temperature": policy.temperature,
                "estimates": {method: _value(values[arm][method]) for method in METHODS},
            }
            for arm, policy in policies.items()
        },
        **{name: lift[name] for name in ("lift", "interval", "p_value")},
        "comparisons": comparisons,
        "log": {"rows": len(environment.rows), "pool": len(environment.pool), "mean_s": _mean_s(environment)},
        "verdict": _verdict(lift, policies["treatment"].name, policies["control"].name, warnings),
    }


def _mean_s(environment: ReplayEnvironment) -> float:
    return float(environment.rows["watch_time_s"].to_numpy().mean())


def _compare(treatment: Mapping[str, PolicyValue], control: Mapping[str, PolicyValue]) -> dict[str, dict[str, Any]]:
    found = {}
    for method in METHODS:
        difference, lift = compare_policies(treatment[method], control[method])
        found[method] = {"difference": plain.estimate(difference, "value"), **plain.estimate(lift, "lift")}
    return found


def _correct(comparisons: Mapping[str, dict[str, dict[str, Any]]]) -> None:
    """Add `p_corrected` to the primary lift of each treatment: Holm's, over all of them."""
    primary = [methods[PRIMARY] for methods in comparisons.values()]
    for lift, p_value in zip(primary, holm([lift["p_value"] for lift in primary]), strict=True):
        lift["p_corrected"] = p_value


def _value(value: PolicyValue) -> dict[str, Any]:
    return {
        "mean_s": value.value,
        "interval": {"low": plain.number(value.low), "high": plain.number(value.high)},
        "effective_sample_size": value.effective_sample_size,
        "warnings": list(value.warnings),
    }


def _verdict(lift: dict[str, Any], treatment: str, control: str, warnings: list[str]) -> dict[str, str]:
    """Off-policy evidence is of first videos alone, so that the best it says is to test online."""
    status, word, sentence = _judge(lift, treatment, control, warnings)
    return {"status": status, "word": word, "text": by_answerer(ReplayEnvironment.name, sentence)}


def _judge(lift: dict[str, Any], treatment: str, control: str, warnings: list[str]) -> tuple[str, str, str]:
    low, high = (lift["interval"][end] for end in ("low", "high"))
    if None in (low, high):
        return "warn", CANNOT_TELL, f"The rows cannot compare {treatment} with {control}: they are of one user."
    span = f"{lift['lift']:+.2%} watch time of the first video, 95 % interval {low:+.2%} to {high:+.2%}"
    if warnings:
        return "warn", CANNOT_TELL, f"Doubtful: {span} against {control}; {'; '.join(warnings)}."
    if high < 0:
        return "fail", DO_NOT_SHIP, f"Do not test {treatment}: {span} against {control}."
    if low > 0 and lift.get("p_corrected", 0.0) < ALPHA:
        return "pass", TEST_ONLINE, f"Test {treatment} online: {span} against {control}."
    after = f", but p {lift['p_corrected']:.3f} over all treatments" if low > 0 else ""
    return "info", CANNOT_TELL, f"Cannot tell {treatment} from {control}: {span}{after}."
