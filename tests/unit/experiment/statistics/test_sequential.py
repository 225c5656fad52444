"""The sequential test keeps its level however often one looks; a fixed-horizon test does not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import lambertw

from benchmarks.ab_simulations import peek, peek_at_returning_users
from watchline.experiment import statistics as ab

RUNS = 2000
HIGH = stats.binom.ppf(0.995, RUNS, 0.05) / RUNS
MDE = ab.minimum_detectable_effect(1.0, 4000, 4000)


def test_level_holds_at_20_looks_where_welch_at_each_look_rejects_four_times_too_often():
    found = peek(RUNS, seed=0)
    assert found.sequential_rejects <= HIGH
    assert found.fixed_rejects > 4 * 0.05
    assert stats.binom.ppf(0.005, RUNS, 0.05) / RUNS <= found.fixed_rejects_at_the_end <= HIGH


@pytest.mark.parametrize("tau", [0.01, 1.0])
def test_level_holds_for_a_tau_far_from_the_plan(tau):
    assert peek(RUNS, seed=1, tau=tau).sequential_rejects <= HIGH


def test_interval_holds_a_true_effect_at_all_looks_at_once_and_a_large_one_stops_early():
    found = peek(RUNS, seed=2, effect=2 * MDE)
    assert found.covers >= 1 - HIGH
    assert found.sequential_rejects > 0.99 and found.mean_users < 0.5 * 8000


@pytest.mark.parametrize("arms", [{}, {"num_users": 1200, "share": 0.05, "exposures": 0.06}])
def test_level_holds_when_the_same_users_come_back_every_period_in_equal_and_unequal_arms(arms):
    """With looks from two users an arm on, the arm of a twentieth rejects in 12 % of the runs."""
    sequential, fixed = peek_at_returning_users(200, seed=3, **arms)
    assert sequential <= 0.08  # 97 % quantile of Bin(200, .05)
    assert fixed > 0.1


def test_interval_is_the_effects_that_the_test_would_not_reject():
    variance, tau = 0.02, 0.3
    found = ab.always_valid([0.1], [variance], tau)
    for bound in (found.low_L[0], found.high_L[0]):
        assert ab.always_valid([0.1 - bound], [variance], tau).p_value_L[0] == pytest.approx(ab.ALPHA)


def test_likelihood_ratio_is_the_mixture_integrated():
    difference, variance, tau = 0.5, 0.02, 0.3
    effects = np.linspace(-3, 3, 20_001)
    density = stats.norm.pdf(difference, effects, math.sqrt(variance)) * stats.norm.pdf(effects, 0, tau)
    ratio = np.trapezoid(density, effects) / stats.norm.pdf(difference, 0, math.sqrt(variance))
    assert ab.always_valid([difference], [variance], tau).p_value_L[0] == pytest.approx(1 / ratio)


def test_tau_of_the_plan_gives_an_interval_within_a_thousandth_of_the_narrowest():
    def width(tau):
        return ab.always_valid([0.0], [1.0], tau).high_L[0]

    tau = ab.mixing_deviation(ab.minimum_detectable_effect(1 / math.sqrt(2), 1, 1))  # planned variance 1
    narrowest = width(math.sqrt(-lambertw(-(ab.ALPHA**2) / math.e, -1).real - 1))
    assert narrowest <= width(tau) <= 1.001 * narrowest
    assert width(tau / 3) / narrowest == pytest.approx(1.24, abs=0.01)
    assert width(tau * 3) / narrowest == pytest.approx(1.06, abs=0.01)


def test_a_trajectory_stops_where_its_p_value_falls_below_the_level_for_good():
    generator, arms = np.random.default_rng(5), (0.7, 0.2)
    seen = [generator.normal(mean, 1, 300) for mean in arms]
    looks = [(ab.mean_of(seen[0][:users]), ab.mean_of(seen[1][:users])) for users in (50, 175, 300)]
    found = ab.trajectory_of(looks, tau=0.3)
    assert found.value_L[1] == pytest.approx(seen[0][:175].mean() - seen[1][:175].mean())
    assert (np.diff(found.p_value_L) <= 0).all() and (np.diff(found.low_L) >= 0).all()
    assert found.stopped_at is not None and found.p_value_L[found.stopped_at] < ab.ALPHA and found.is_consistent
    assert not found.stopped_at or found.p_value_L[found.stopped_at - 1] >= ab.ALPHA


def test_trajectory_by_period_counts_only_users_who_have_come_and_ends_at_the_whole_ratio():
    watch = np.array([[1.0, 2.0, 3.0, 5.0, 0, 0], [1.0, 1.0, 4.0, 2.0, 6.0, 7.0]])
    shown = np.array([[1.0, 1.0, 2.0, 2.0, 0, 0], [1.0, 1.0, 1.0, 1.0, 2.0, 1.0]])
    arm = np.array([True, False, True, False, True, False])
    found = ab.trajectory_by_period(watch, shown, arm, tau=1.0)
    assert found.value_L == pytest.approx([(4 / 3) / (7 / 3) - 1, (15 / 7) / (17 / 6) - 1])
    ratios = [ab.ratio_of(watch[0, of], shown[0, of]) for of in ([0, 2], [1, 3])]
    variance = sum(ratio.variance / ratio.value**2 for ratio in ratios)
    known = ab.always_valid([math.log(ratios[0].value / ratios[1].value)], [variance], 1.0)
    assert found.high_L[0] == pytest.approx(math.expm1(known.high_L[0]))
    assert found.p_value_L[0] == pytest.approx(known.p_value_L[0])


def test_a_look_at_an_arm_that_watched_nothing_is_an_error():
    nothing = np.array([[1.0, 0.0, 1.0, 0.0]])
    with pytest.raises(ValueError, match=r"an arm's ratio is 0\.0 at a look"):
        ab.trajectory_by_period(nothing, np.ones((1, 4)), np.array([True, False, True, False]), tau=1.0)


def test_an_effect_that_turns_around_is_called_inconsistent():
    found = ab.always_valid([1.0, -1.0], [0.01, 0.01], 0.5)
    assert not found.is_consistent
    assert ab.always_valid([0.0, 0.1], [0.0, 0.01], 0.5).stopped_at is None


def test_a_tau_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="tau is 0"):
        ab.always_valid([0.1], [0.1], 0.0)
