"""The bootstrap by user is SciPy's BCa at the cost of a subtraction per user, and its p-value fits its interval."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.ab_simulations import bootstrap_trial, coverage, exposures_and_watch, users
from watchline.experiment import statistics as ab

GENERATOR = np.random.default_rng(0)
TREATMENT, CONTROL = users(GENERATOR, 90, 1.4), users(GENERATOR, 60)


def test_interval_is_that_of_scipy():
    def effect(t, c, axis=-1):
        return t.mean(axis=axis) / c.mean(axis=axis) - 1

    known = stats.bootstrap((TREATMENT, CONTROL), effect, n_resamples=40_000, method="BCa", rng=GENERATOR)
    found = ab.estimate_by_bootstrap(TREATMENT, CONTROL, replicates=40_000)
    width = found.high - found.low
    assert found.value == pytest.approx(effect(TREATMENT, CONTROL))
    assert (found.low, found.high) == pytest.approx(known.confidence_interval, abs=0.02 * width)


def test_a_ratio_agrees_with_the_delta_method_for_many_users():
    arms = [exposures_and_watch(GENERATOR, 3000, mean) for mean in (2.2, 2.0)]
    (t, of_t), (c, of_c) = arms
    found = ab.estimate_by_bootstrap(t, c, denominators=(of_t, of_c))
    known = ab.estimate_lift(*(ab.ratio_of(*arm) for arm in arms))
    assert found.value == pytest.approx(known.value)
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=0.08 * (known.high - known.low))


def test_p_value_is_below_the_level_exactly_when_the_interval_leaves_zero_out():
    generator, outside = np.random.default_rng(1), 0
    for run in range(200):
        found = ab.estimate_by_bootstrap(users(generator, 60, 1.45), users(generator, 60), replicates=300, seed=run)
        if abs(found.p_value - 0.05) > 0.01:  # 300 draws cannot tell closer
            assert (found.low <= 0 <= found.high) == (found.p_value > 0.05)
            outside += found.p_value < 0.05
    assert 20 < outside < 180


def test_interval_covers_at_its_rate():
    low, high = stats.binom.ppf([0.005, 0.995], 500, 0.95) / 500
    assert low <= coverage(bootstrap_trial("user", 400, 250), 500, seed=3) <= high


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    first, again, other = (ab.estimate_by_bootstrap(TREATMENT, CONTROL, seed=seed) for seed in (4, 4, 5))
    assert first == again != other


def test_users_who_are_all_alike_have_no_interval_to_speak_of():
    assert ab.estimate_by_bootstrap(np.ones(5), np.ones(6)) == ab.Estimate(0.0, 0.0, 0.0, 1.0)


def test_what_has_no_bootstrap_is_an_error():
    with pytest.raises(ValueError, match=r"treatment: 1 users"):
        ab.estimate_by_bootstrap([1.0], CONTROL)
    with pytest.raises(ValueError, match=r"control: 60 users with denominators of 0"):
        ab.estimate_by_bootstrap(TREATMENT, CONTROL, denominators=(np.ones(90), np.zeros(60)))
    with pytest.raises(ValueError, match="control of mean 0"):
        ab.estimate_by_bootstrap(TREATMENT, np.zeros(60))
