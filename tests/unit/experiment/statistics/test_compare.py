"""Welch's difference and Fieller's lift, means, ratios and quantiles, CUPED."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.ab_simulations import before_and_after, users
from watchline.experiment import statistics as ab


def test_welch_equals_scipy():
    generator = np.random.default_rng(0)
    treatment, control = users(generator, 60, 1.3), users(generator, 35)
    found = ab.estimate_difference(ab.mean_of(treatment), ab.mean_of(control))
    expected = stats.ttest_ind(treatment, control, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


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
    assert ab.Comparison.of(ab.Mean(1.0, 0.1, 50), ab.Mean(0.0, 0.1, 50)).lift is None


def test_a_ratio_of_equal_denominators_is_the_mean_of_quotients():
    values = users(np.random.default_rng(1), 50)
    ratio, mean = ab.ratio_of(values, np.full(50, 4.0)), ab.mean_of(values / 4)
    assert (ratio.value, ratio.variance, ratio.freedom) == pytest.approx((mean.value, mean.variance, mean.freedom))


def test_a_quantile_has_the_error_of_its_density():
    """sqrt(level (1 - level) / U) / density, known for the normal distribution."""
    values = np.random.default_rng(2).normal(size=200_000)
    for level in (0.1, 0.5):
        found, at = ab.quantile_of(values, level), stats.norm.ppf(level)
        error = math.sqrt(level * (1 - level) / len(values)) / stats.norm.pdf(at)
        assert found.value == pytest.approx(at, abs=4 * error)
        assert math.sqrt(found.variance) == pytest.approx(error, rel=0.1)


def test_too_few_users_for_a_quantile_are_told_how_many_it_takes():
    with pytest.raises(ValueError, match=r"20 users do not enclose the 0.1 quantile; an arm takes 36 or more"):
        ab.quantile_of(np.arange(20.0), 0.1)
    assert ab.quantile_of(np.arange(36.0), 0.1).variance > 0


def test_cuped_leaves_the_effect_and_takes_out_rho_squared_of_the_estimated_variance():
    generator = np.random.default_rng(3)
    (pre_t, t), (pre_c, c) = before_and_after(generator, 100_000, 0.1), before_and_after(generator, 100_000, 0.0)
    found = ab.estimate_cuped(t, c, pre_t, pre_c)
    adjusted = ab.estimate_difference(found.treatment, found.control)
    plain_variance = ab.mean_of(t).variance + ab.mean_of(c).variance
    assert adjusted.value == pytest.approx(0.1, abs=0.02)
    left = (found.treatment.variance + found.control.variance) / plain_variance
    assert left == pytest.approx(1 - found.rho**2, rel=1e-3)
    assert found.variance_reduction == pytest.approx(found.rho**2) and found.rho == pytest.approx(0.4, abs=0.02)


def test_cuped_without_a_past_is_the_plain_mean():
    generator = np.random.default_rng(6)
    treatment, control = users(generator, 50), users(generator, 60)
    cuped = ab.estimate_cuped(treatment, control, np.zeros(50), np.zeros(60))
    assert cuped.treatment == ab.mean_of(treatment) and cuped.theta == 0.0


def test_arms_too_small_for_a_variance_are_an_error():
    with pytest.raises(ValueError, match="1 users; a variance"):
        ab.mean_of([1.0])
    with pytest.raises(ValueError, match="sum to 0"):
        ab.ratio_of([1.0, 2.0], [0.0, 0.0])


def test_aa_splits_reject_at_the_level_and_a_planted_effect_does_not_hide():
    generator = np.random.default_rng(9)
    outcome, splits = users(generator, 800), generator.random((1000, 800)) < 0.5
    found = ab.check_false_positives(outcome, splits)
    assert found.low <= found.rate <= found.high and found.runs == 1000
    correlated = np.stack([outcome > np.median(outcome)] * 10)
    assert ab.check_false_positives(outcome, correlated).rate == 1.0


def test_paired_lift_covers_the_true_lift_at_its_rate_in_a_fraction_of_the_width_of_a_test_of_arms():
    generator = np.random.default_rng(12)
    misses, widths, runs = 0, [], 1000
    for _ in range(runs):
        often = 1 + generator.poisson(generator.gamma(1.0, 5.0, 400))
        control = generator.gamma(2.0, 1.0, 400) * often
        treatment = 1.03 * control + generator.normal(0, 0.5, 400) * np.sqrt(often)
        found = ab.estimate_paired_lift(treatment, control)
        misses += not found.low <= 0.03 <= found.high
        widths.append(found.high - found.low)
    low, high = stats.binom.ppf([0.0005, 0.9995], runs, 0.05) / runs
    assert low <= misses / runs <= high
    arms = ab.estimate_lift(ab.mean_of(treatment[:200]), ab.mean_of(control[200:]))
    assert np.mean(widths) < (arms.high - arms.low) / 5
