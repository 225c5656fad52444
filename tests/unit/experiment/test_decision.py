"""The decision in every case that a test can come to."""

import math

import pytest

from watchline.experiment.decision import Guarded, decide
from watchline.experiment.statistics import (
    Estimate,
    Mean,
    SampleRatio,
    check_guardrail,
    check_sample_ratio,
    estimate_lift,
)

SPLIT, BROKEN = check_sample_ratio([500, 500]), check_sample_ratio([500, 700])
GAIN, LOSS, NONE = Estimate(0.1, 0.02, 0.2, 0.01), Estimate(-0.1, -0.2, -0.02, 0.01), Estimate(0.1, -0.1, 0.3, 0.3)
SURE, CHANCE, OPEN = Guarded({"skips": 0.01}), Guarded({"skips": 0.14}), Guarded({}, ["completion rate"])
CLEAR = Guarded({})
SPAN = "+10.00% watch time per user, 95 % interval +2.00% to +20.00%"


@pytest.mark.parametrize(
    ("lift", "split", "environment", "guarded", "p_corrected", "status", "word", "text"),
    [
        (GAIN, BROKEN, "oracle", CLEAR, None, "warn", "Can't tell", "Do not read the result: "),
        (None, SPLIT, "model", CLEAR, None, "warn", "Can't tell", "b was not watched at all"),
        (GAIN, SPLIT, "oracle", CLEAR, None, "pass", "Ship", f"Ship a: {SPAN} against b."),
        (GAIN, SPLIT, "model", CLEAR, None, "pass", "Test online", f"By a reward model: test a online: {SPAN}"),
        (GAIN, SPLIT, "matrix", CLEAR, None, "pass", "Test online", "By recorded plays: test a online: "),
        (GAIN, SPLIT, "oracle", OPEN, None, "pass", "Ship", f"{SPAN} against b. Not settled: completion rate."),
        (LOSS, SPLIT, "oracle", CLEAR, None, "fail", "Don't ship", "Do not ship a: -10.00%"),
        (LOSS, SPLIT, "model", SURE, None, "fail", "Don't ship", "By a reward model: do not ship a: -10.00%"),
        (GAIN, SPLIT, "oracle", SURE, None, "warn", "Don't ship yet", "against b, and it harms skips."),
        (NONE, SPLIT, "oracle", CHANCE, None, "warn", "Don't ship yet", "and it may harm skips (q .14)."),
        (GAIN, SPLIT, "oracle", CLEAR, 0.04, "pass", "Ship", "Ship a: "),
        (GAIN, SPLIT, "oracle", CLEAR, 0.06, "info", "Can't tell", "but p 0.060 over all treatments."),
        (NONE, SPLIT, "oracle", OPEN, 0.9, "info", "Can't tell", "-10.00% to +30.00%. Not settled: completion rate."),
    ],
)
def test_every_branch(lift, split, environment, guarded, p_corrected, status, word, text):
    found = decide(lift, split, ("a", "b"), environment, guarded, p_corrected)
    assert (found.status, found.word) == (status, word) and text in found.text


def test_a_control_not_told_from_zero_leaves_the_lift_unbounded_in_words():
    lift = estimate_lift(Mean(2.0, 0.1, 50), Mean(1.0, 1.0, 50))
    assert math.isinf(lift.low)
    found = decide(lift, SampleRatio(0.0, 1.0, False), ("a", "b"), "oracle", CLEAR)
    assert found.word == "Can't tell" and "the lift is not bounded" in found.text and "inf%" not in found.text


def test_guardrails_are_named_by_what_they_found():
    control = Mean(1.0, 1e-4, 1000)
    rails = [
        check_guardrail(name, Mean(value, variance, 1000), control, 0.1)
        for name, value, variance in (("a_b", 0.8, 1e-4), ("c", 0.92, 4e-4), ("d", 0.95, 1e-3), ("e", 1.0, 1e-4))
    ]
    guarded = Guarded.of(rails, {"a_b": 0.001, "c": 0.06, "d": 0.5, "e": 1.0})
    assert guarded.harms() == "harms a b, may harm c (q .06)" and guarded.unsettled == ["d"]
