"""Statistics of an A/B test on simulated users whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from watchline.experiment import statistics as ab

RUNS = 1000
# What a valid 5 % test or 95 % interval gives in RUNS runs with 99.9 % probability.
BAND = stats.binom.ppf([0.0005, 0.9995], RUNS, 0.05) / RUNS


def users(generator, num_users, mean=1.0):
    """Skewed watch times of mean `mean`: a tenth of the users watches nothing."""
    return np.where(generator.random(num_users) < 0.1, 0.0, generator.gamma(0.8, mean / 0.72, num_users))


def test_welch_equals_scipy():
    generator = np.random.default_rng(0)
    treatment, control = users(generator, 60, 1.3), users(generator, 35)
    found = ab.estimate_difference(ab.mean_of(treatment), ab.mean_of(control))
    expected = stats.ttest_ind(treatment, control, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_welch_false_positive_rate_is_within_its_band_for_unequal_arms():
    generator = np.random.default_rng(1)
    p_values = [
        ab.estimate_difference(ab.mean_of(users(generator, 600)), ab.mean_of(users(generator, 300))).p_value
        for _ in range(RUNS)
    ]
    assert BAND[0] <= np.mean(np.array(p_values) < 0.05) <= BAND[1]


def test_lift_interval_covers_the_true_lift_at_its_rate():
    generator = np.random.default_rng(2)
    misses = 0
    for _ in range(RUNS):
        found = ab.estimate_lift(ab.mean_of(users(generator, 400, 1.1)), ab.mean_of(users(generator, 400, 1.0)))
        misses += not found.low <= 0.1 <= found.high
    assert BAND[0] <= misses / RUNS <= BAND[1]


@settings(max_examples=300, deadline=None)
@given(st.floats(0.01, 5), st.floats(1e-6, 2), st.floats(0.01, 5), st.floats(1e-6, 2), st.integers(1, 500))
def test_lift_interval_holds_zero_exactly_when_welch_does_not_reject(t, t_variance, c, c_variance, freedom):
    treatment, control = ab.Mean(t, t_variance, freedom), ab.Mean(c, c_variance, freedom)
    difference, lift = ab.estimate_difference(treatment, control), ab.estimate_lift(treatment, control)
    if abs(difference.p_value - 0.05) > 1e-6 and math.isfinite(lift.low):
        assert (lift.low <= 0 <= lift.high) == (difference.p_value > 0.05)
        assert lift.low <= lift.value <= lift.high


def test_lift_over_a_control_that_is_not_told_from_zero_is_unbounded():
    found = ab.estimate_lift(ab.Mean(1.0, 0.1, 50), ab.Mean(0.5, 0.1, 50))
    assert (found.low, found.high) == (-math.inf, math.inf)
    with pytest.raises(ValueError, match="control whose mean is 0"):
        ab.estimate_lift(ab.Mean(1.0, 0.1, 50), ab.Mean(0.0, 0.1, 50))


def exposures_and_watch(generator, num_users, per_exposure):
    """Users with few or many exposures of a taste of their own, so that exposures of one user are alike."""
    exposures = 1 + generator.poisson(generator.gamma(1.0, 5.0, num_users))
    taste = generator.gamma(2.0, per_exposure / 2.0, num_users)
    return taste * exposures + generator.normal(0, 0.3, num_users) * np.sqrt(exposures), exposures


def test_delta_method_covers_a_ratio_where_exposures_as_units_do_not():
    generator = np.random.default_rng(3)
    misses, naive_misses = 0, 0
    for _ in range(RUNS):
        watch, exposures = exposures_and_watch(generator, 400, 2.0)
        found = ab.ratio_of(watch, exposures)
        misses += abs(found.value - 2.0) > 1.96 * math.sqrt(found.variance)
        per_exposure = np.repeat(watch / exposures, exposures)
        naive_misses += abs(found.value - 2.0) > 1.96 * per_exposure.std() / math.sqrt(len(per_exposure))
    assert BAND[0] <= misses / RUNS <= BAND[1]
    assert naive_misses / RUNS > 0.3


def test_paired_lift_covers_the_true_lift_at_its_rate_in_a_fraction_of_the_width_of_a_test_of_arms():
    generator = np.random.default_rng(12)
    misses, widths = 0, []
    for _ in range(RUNS):
        control, often = exposures_and_watch(generator, 400, 2.0)
        treatment = 1.03 * control + generator.normal(0, 0.5, 400) * np.sqrt(often)
        found = ab.estimate_paired_lift(treatment, control)
        misses += not found.low <= 0.03 <= found.high
        widths.append(found.high - found.low)
    assert BAND[0] <= misses / RUNS <= BAND[1]
    arms = ab.estimate_lift(ab.mean_of(treatment[:200]), ab.mean_of(control[200:]))
    assert np.mean(widths) < (arms.high - arms.low) / 5


def test_delta_method_false_positive_rate_is_within_its_band():
    generator = np.random.default_rng(4)
    p_values = []
    for _ in range(RUNS):
        arms = [ab.ratio_of(*exposures_and_watch(generator, 500, 2.0)) for _ in range(2)]
        p_values.append(ab.estimate_difference(*arms).p_value)
    assert BAND[0] <= np.mean(np.array(p_values) < 0.05) <= BAND[1]


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_cuped_variance_falls_by_one_minus_rho_squared_and_the_effect_stays(rho):
    generator = np.random.default_rng(5)
    effect, plain, adjusted, misses = 0.1, [], [], 0
    for _ in range(RUNS):
        before = generator.normal(3, 2, (2, 250))
        after = 1 + rho * (before - 3) / 2 + math.sqrt(1 - rho**2) * generator.normal(0, 1, (2, 250))
        after[0] += effect
        cuped = ab.estimate_cuped(after[0], after[1], before[0], before[1])
        found = ab.estimate_difference(cuped.treatment, cuped.control)
        plain.append(after[0].mean() - after[1].mean())
        adjusted.append(found.value)
        misses += not found.low <= effect <= found.high
    assert np.var(adjusted) / np.var(plain) == pytest.approx(1 - rho**2, abs=0.03)
    assert np.mean(adjusted) == pytest.approx(effect, abs=4 * np.std(adjusted) / math.sqrt(RUNS))
    assert BAND[0] <= misses / RUNS <= BAND[1]
    assert cuped.rho == pytest.approx(rho, abs=0.15)
    assert cuped.variance_reduction == pytest.approx(cuped.rho**2)


def test_cuped_without_a_past_is_the_plain_mean():
    generator = np.random.default_rng(6)
    treatment, control = users(generator, 50), users(generator, 60)
    cuped = ab.estimate_cuped(treatment, control, np.zeros(50), np.zeros(60))
    assert cuped.treatment == ab.mean_of(treatment) and cuped.theta == 0.0


def test_sample_ratio_alarms_at_a_planted_imbalance_of_one_percent_and_seldom_otherwise():
    assert ab.check_sample_ratio([495_000, 505_000]).alarm
    assert ab.check_sample_ratio([198_000, 802_000], [0.2, 0.8]).alarm
    generator = np.random.default_rng(7)
    counts = generator.binomial(20_000, 0.5, RUNS)
    alarms = sum(ab.check_sample_ratio([int(count), 20_000 - int(count)]).alarm for count in counts)
    assert alarms <= stats.binom.ppf(0.9995, RUNS, ab.SRM_ALARM)


def test_minimum_detectable_effect_is_found_at_its_power():
    generator = np.random.default_rng(8)
    effect = ab.minimum_detectable_effect(2.0, 300, 200)
    assert ab.power_of(effect, 2.0, 300, 200) == pytest.approx(0.8, abs=1e-4)
    assert ab.power_of(0.0, 2.0, 300, 200) == pytest.approx(0.05)
    found = 0
    for _ in range(RUNS):
        treatment, control = generator.normal(effect, 2, 300), generator.normal(0, 2, 200)
        found += ab.estimate_difference(ab.mean_of(treatment), ab.mean_of(control)).p_value < 0.05
    assert found / RUNS == pytest.approx(0.8, abs=0.05)


def test_aa_splits_reject_at_the_level_and_a_planted_effect_does_not_hide():
    generator = np.random.default_rng(9)
    outcome, splits = users(generator, 800), generator.random((300, 800)) < 0.5
    found = ab.check_false_positives(outcome, splits)
    assert found.low <= found.rate <= found.high and found.runs == 300
    correlated = np.stack([outcome > np.median(outcome)] * 10)
    assert ab.check_false_positives(outcome, correlated).rate == 1.0


def test_arms_too_small_for_a_variance_are_an_error():
    with pytest.raises(ValueError, match="1 users; a variance"):
        ab.mean_of([1.0])
    with pytest.raises(ValueError, match="sum to 0"):
        ab.ratio_of([1.0, 2.0], [0.0, 0.0])
