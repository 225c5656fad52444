"""A guardrail passes, is harmed or cannot be told, and each looks at what its name says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from watchline.experiment import statistics as ab

MARGINS = dict.fromkeys(ab.GUARDRAILS, 0.1)


def outcomes(generator: np.random.Generator, num_users: int = 4000) -> ab.UserOutcomes:
    taste = generator.gamma(2.0, 0.5, num_users)
    sessions = 1.0 + generator.poisson(3.0, num_users)
    exposures = sessions + generator.poisson(8.0 * sessions)
    return ab.UserOutcomes(
        watch_s=taste * exposures * generator.gamma(5.0, 2.0, num_users),
        exposures=exposures,
        completions=generator.binomial(exposures.astype(int), 0.4).astype(float),
        skips=generator.binomial(exposures.astype(int), 0.2).astype(float),
        sessions=sessions,
        pre_watch_s=taste * generator.gamma(20.0, 5.0, num_users),
    )


GENERATOR = np.random.default_rng(0)
CONTROL, TREATMENT = outcomes(GENERATOR), outcomes(GENERATOR)


@pytest.mark.parametrize(
    ("value", "variance", "verdict"),
    [
        (1.0, 1e-4, "pass"),
        (0.95, 1e-4, "pass"),
        (0.8, 1e-4, "harmed"),
        (0.95, 1e-3, "cannot tell"),
        (0.92, 4e-4, "harmed"),
    ],
)
def test_verdict_follows_the_interval(value, variance, verdict):
    treatment, control = ab.Mean(value, variance, 1000), ab.Mean(1.0, 1e-4, 1000)
    assert ab.check_guardrail("x", treatment, control, 0.1).verdict == verdict
    # The mirror image where lower is better.
    mirrored = ab.Mean(1 / value, variance / value**4, 1000), ab.Mean(1.0, 1e-4, 1000)
    if verdict != "cannot tell":
        assert ab.check_guardrail("x", *mirrored, 0.13, "lower").verdict == verdict


def test_arms_that_are_alike_pass_all_guardrails_in_the_order_asked_for():
    found = ab.check_guardrails(TREATMENT, CONTROL, MARGINS)
    assert [each.name for each in found] == list(MARGINS)
    tight = [each for each in found if not each.name.startswith("watch_")]
    assert len(tight) == 4 and all(each.verdict == "pass" for each in tight)
    assert not [each.name for each in found if each.verdict == "harmed"]


def harmed(treatment: ab.UserOutcomes) -> set[str]:
    return {each.name for each in ab.check_guardrails(treatment, CONTROL, MARGINS) if each.verdict == "harmed"}


def test_each_guardrail_sees_its_own_harm():
    fewer = np.minimum(TREATMENT.completions, 0.5 * TREATMENT.completions)
    assert harmed(replace(TREATMENT, completions=fewer)) == {"completion_rate"}
    assert harmed(replace(TREATMENT, skips=TREATMENT.skips * 1.5)) == {"quick_skip_rate"}
    assert harmed(replace(TREATMENT, sessions=TREATMENT.sessions * 0.7)) == {"sessions_per_user"}
    assert harmed(replace(TREATMENT, sessions=TREATMENT.sessions * 1.5)) == {"exposures_per_session"}


def test_harm_to_those_who_watch_least_shows_in_the_tail_and_not_in_the_mean():
    tail = ab.tail_threshold(np.concatenate([TREATMENT.pre_watch_s, CONTROL.pre_watch_s])) >= TREATMENT.pre_watch_s
    worse = replace(TREATMENT, watch_s=np.where(tail, 0.5, 1.0) * TREATMENT.watch_s)
    mean = ab.estimate_difference(ab.mean_of(worse.watch_s), ab.mean_of(CONTROL.watch_s))
    assert mean.low < 0 < mean.high
    assert "watch_of_tail_users" in harmed(worse)
    low = TREATMENT.watch_s < np.quantile(TREATMENT.watch_s, 0.4)
    assert "watch_low_quantile" in harmed(replace(TREATMENT, watch_s=np.where(low, 0.5, 1.0) * TREATMENT.watch_s))


def test_some_users_are_an_arm():
    members = np.arange(4000) < 10
    assert CONTROL.of(members).watch_s.tolist() == CONTROL.watch_s[:10].tolist()
    assert CONTROL.of(members).pre_watch_s.tolist() == CONTROL.pre_watch_s[:10].tolist()


def test_a_control_of_zero_cannot_be_told():
    found = ab.check_guardrail("skips", ab.Mean(0.1, 0.01, 50), ab.Mean(0.0, 0.0, 50), 0.1, "lower")
    assert found.verdict == "cannot tell" and found.comparison.lift is None


@pytest.mark.parametrize("tied", [("treatment", "control"), ("treatment",), ("control",)])
def test_a_quantile_that_many_users_share_cannot_be_told_and_says_why(tied):
    values = {"treatment": 30.0, "control": 31.0}
    arms = {"treatment": TREATMENT, "control": CONTROL}
    for arm in tied:
        some = np.arange(4000) % 5 != 0
        arms[arm] = replace(arms[arm], watch_s=np.where(some, values[arm], arms[arm].watch_s))
    found = ab.check_guardrails(arms["treatment"], arms["control"], {"watch_low_quantile": 0.01})[0]
    assert found.verdict == "cannot tell" and "share the value" in found.reason
    for estimate in (found.comparison.lift, found.comparison.difference):
        assert (estimate.low, estimate.high, estimate.p_value) == (-np.inf, np.inf, 1.0)
    assert found.comparison.lift.value == found.comparison.treatment / found.comparison.control - 1
    assert not ab.check_guardrails(TREATMENT, CONTROL, {"watch_low_quantile": 0.01})[0].reason


def test_unknown_guardrails_margins_of_nothing_and_small_arms_are_errors_that_name_them():
    with pytest.raises(ValueError, match="no guardrail likes; there are completion_rate"):
        ab.check_guardrails(TREATMENT, CONTROL, {"likes": 0.1})
    with pytest.raises(ValueError, match="guardrail completion_rate: margin 0"):
        ab.check_guardrails(TREATMENT, CONTROL, {"completion_rate": 0.0})
    few = TREATMENT.of(np.arange(4000) < 5)
    with pytest.raises(ValueError, match="guardrail watch_low_quantile: 5 users"):
        ab.check_guardrails(few, CONTROL, {"watch_low_quantile": 0.1})
