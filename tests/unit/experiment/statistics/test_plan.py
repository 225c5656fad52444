"""What a test will find is what it finds; the check of the split alarms at the users it says it needs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.ab_simulations import before_and_after, sample_ratio_alarms
from watchline.experiment import statistics as ab

RUNS = 1000


def test_minimum_detectable_effect_is_found_at_its_power():
    generator, found = np.random.default_rng(8), 0
    effect = ab.minimum_detectable_effect(2.0, 300, 200)
    assert ab.power_of(effect, 2.0, 300, 200) == pytest.approx(0.8, abs=1e-4)
    assert ab.power_of(0.0, 2.0, 300, 200) == pytest.approx(0.05)
    for _ in range(RUNS):
        treatment, control = generator.normal(effect, 2, 300), generator.normal(0, 2, 200)
        found += ab.estimate_difference(ab.mean_of(treatment), ab.mean_of(control)).p_value < 0.05
    low, high = stats.binom.ppf([0.005, 0.995], RUNS, 0.8) / RUNS
    assert low <= found / RUNS <= high


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_required_users_are_those_whose_detectable_effect_it_is(share):
    treatment, control = ab.required_users(0.2, 2.0, share)
    assert treatment / (treatment + control) == pytest.approx(share, abs=1e-3)
    assert ab.minimum_detectable_effect(2.0, treatment, control) == pytest.approx(0.2, rel=1e-3)
    with pytest.raises(ValueError, match="difference of 0"):
        ab.required_users(0.0, 2.0)


def test_a_plan_from_the_period_before_tells_what_the_test_finds():
    generator = np.random.default_rng(1)
    plan = ab.plan_test(before_and_after(generator, 6000, 0.0)[0], 0.05)
    assert plan.detectable_lift > 0.05 and plan.power < 0.8 and sum(plan.users_needed) > 6000
    found = 0
    for _ in range(200):
        t, c = (before_and_after(generator, 3000, 0.0)[1] + lift for lift in (plan.detectable_lift, 0.0))  # of mean 1
        found += ab.estimate_difference(ab.mean_of(t), ab.mean_of(c)).p_value < 0.05
    low, high = stats.binom.ppf([0.005, 0.995], 200, 0.8) / 200
    assert low <= found / 200 <= high


def test_a_pre_period_without_users_or_watch_time_plans_nothing():
    with pytest.raises(ValueError, match="2 users of the pre-period with mean 1"):
        ab.plan_test([1.0, 1.0], 0.1)
    with pytest.raises(ValueError, match="0 users of the pre-period"):
        ab.plan_test([], 0.1)


def test_sample_ratio_alarms_at_one_percent_more_of_control_with_the_users_it_asks_for_and_seldom_otherwise():
    """49.75 against 50.25 % (one arm 1 % larger) takes 683,000 users; 49.5 against 50.5 % 171,000; power 80 %."""
    needed = ab.users_to_see_imbalance([0.495, 0.505])
    assert needed == pytest.approx(171_000, rel=0.01)
    assert ab.users_to_see_imbalance([0.4975, 0.5025]) == pytest.approx(683_000, rel=0.01)
    low, high = stats.binom.ppf([0.005, 0.995], RUNS, 0.8) / RUNS
    assert low <= sample_ratio_alarms(RUNS, 2, needed, 0.495) <= high
    assert sample_ratio_alarms(RUNS, 3, needed) <= stats.binom.ppf(0.995, RUNS, ab.SRM_ALARM) / RUNS
    assert ab.check_sample_ratio([495_000, 505_000]).alarm
    assert ab.check_sample_ratio([198_000, 802_000], [0.2, 0.8]).alarm
    with pytest.raises(ValueError, match="no imbalance to see"):
        ab.users_to_see_imbalance([0.5, 0.5])
