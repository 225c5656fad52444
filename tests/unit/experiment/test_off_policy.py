"""Off-policy estimators on logs of the generator's law, where propensities and the value of any policy are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.off_policy_simulations import World, errors, estimate_all, lift_coverage
from watchline.experiment.logged import (
    Log,
    check_overlap,
    clustered_error,
    effective_sample_size,
)
from watchline.experiment.off_policy import compare_policies, doubly_robust, ips, replay, snips

RUNS = 300


@pytest.fixture(scope="module")
def world() -> World:
    return World.draw()


@pytest.fixture(scope="module")
def found(world):
    return errors(world, RUNS, seed=1)


@pytest.mark.parametrize("name", ["ips", "doubly_robust"])
def test_ips_and_doubly_robust_are_unbiased_on_the_law(found, name):
    assert found[name].bias_error < 0.01
    assert abs(found[name].bias) < 3 * found[name].bias_error


def test_doubly_robust_has_less_variance_than_ips_and_snips_no_more(found):
    assert found["doubly_robust"].deviation < 0.9 * found["ips"].deviation
    assert found["snips"].deviation < found["ips"].deviation


def test_replay_and_snips_are_one_on_a_uniform_log_and_unbiased_there():
    world = World.draw(uniform=True)
    of_uniform = errors(world, RUNS, seed=2)
    assert abs(of_uniform["replay"].bias) < 3 * of_uniform["replay"].bias_error
    assert of_uniform["replay"] == pytest.approx(of_uniform["snips"])
    log = world.log(300, np.random.default_rng(0))[0]
    assert set(log.target_N) == {0.0, 1.0}
    shown = log.target_N == 1
    assert replay(log).value == pytest.approx(log.reward_N[shown].mean())
    assert replay(log).effective_sample_size == pytest.approx(shown.sum())


def mean_of_runs(world, change_log=lambda log: log, exact_model=False, runs=RUNS, num_users=300):
    """Bias of DR relative to the truth, and its standard error, when the log or the model is not what it should be."""
    used = replace(world, model_UPA=world.mean_UPA) if exact_model else world
    generator = np.random.default_rng(3)
    logs = [used.log(num_users, generator) for _ in range(runs)]
    value_R = np.array([doubly_robust(change_log(log), q, q_target).value for log, q, q_target in logs])
    truth = world.value(world.target_UPA)
    return value_R.mean() / truth - 1, value_R.std() / truth / np.sqrt(runs)


def forget_propensities(log: Log) -> Log:
    return replace(log, propensity_N=np.full(len(log.reward_N), 0.125))


def test_doubly_robust_survives_wrong_propensities_with_a_right_model_and_not_with_both_wrong(world):
    bias, error = mean_of_runs(world, forget_propensities, exact_model=True)
    assert abs(bias) < 3 * error
    far = replace(world, model_UPA=np.ones_like(world.mean_UPA))
    bias, error = mean_of_runs(far)  # a model of no use
    assert abs(bias) < 3 * error
    wrong = replace(far, logging_UPA=world.target_UPA)
    bias, error = mean_of_runs(wrong, forget_propensities)
    assert abs(bias) > 10 * error


def test_intervals_cover_where_effective_rows_are_thousands(world):
    of_many = errors(world, 150, seed=4, num_users=3000)
    assert all(0.9 <= of_many[name].coverage <= 0.99 for name in ("ips", "snips", "doubly_robust"))
    assert 0.9 <= lift_coverage(world, 150, seed=5) <= 0.99


def test_rows_of_one_user_are_not_independent():
    """Every user's row four times over: by rows the error is half of what it is."""
    generator = np.random.default_rng(0)
    reward, target = generator.exponential(1.0, 500), generator.random(500)
    once = Log(reward, np.full(500, 0.5), target)
    user = np.repeat(np.arange(500) + 9, 4)
    repeated = Log(*(np.repeat(each, 4) for each in (reward, once.propensity_N, target)), user)
    assert ips(repeated).standard_error == pytest.approx(ips(once).standard_error)
    assert ips(replace(repeated, user_N=None)).standard_error == pytest.approx(ips(once).standard_error / 2, rel=0.01)
    assert snips(repeated).low == pytest.approx(snips(once).low)
    assert clustered_error(np.ones(3), np.zeros(3, np.int64)) == np.inf


def test_a_policy_compared_with_itself_differs_by_nothing_and_pairing_narrows_the_rest(world):
    log, q_N, q_target_N = world.log(300, np.random.default_rng(1))
    values = estimate_all(log, q_N, q_target_N)
    difference, lift = compare_policies(values["ips"], values["ips"])
    assert (difference.low, difference.high, lift.value) == (0.0, 0.0, 0.0)
    near = ips(replace(log, target_N=0.95 * log.target_N + 0.05 * log.propensity_N))
    paired = compare_policies(values["ips"], near)[0]
    assert paired.high - paired.low < 0.2 * (values["ips"].high - values["ips"].low)


def test_effective_sample_size():
    assert effective_sample_size(np.ones(7)) == 7
    assert effective_sample_size(np.array([3.0, 0, 0])) == 1
    assert effective_sample_size(np.array([1.0, 3.0])) == pytest.approx(1.6)
    assert effective_sample_size(np.zeros(3)) == 0


def test_overlap_warns_of_small_samples_heavy_rows_and_actions_that_were_never_logged(world):
    generator = np.random.default_rng(2)
    good = world.log(3000, generator)[0]
    assert check_overlap(good) == ()
    assert "effective rows of 1200, under 1000" in check_overlap(world.log(300, generator)[0])[0]
    heavy = replace(good, propensity_N=np.where(np.arange(len(good.reward_N)) == 5, 1e-5, good.propensity_N))
    assert any("of all weight" in warning for warning in check_overlap(heavy))
    # The logger never shows half of the actions: the target's chances there are lost.
    logging_UPA = np.where(np.arange(8) < 4, world.logging_UPA, 0.0)
    logging_UPA /= logging_UPA.sum(axis=-1, keepdims=True)
    blind = replace(world, logging_UPA=logging_UPA)
    log = blind.log(3000, generator)[0]
    (warning,) = [each for each in ips(log).warnings if "mean weight" in each]
    missing = blind.target_UPA[blind.logging_UPA == 0].sum() / blind.target_UPA.sum()
    assert 0.3 < missing < 0.7
    assert log.weight_N.mean() == pytest.approx(1 - missing, abs=0.05) and "never logged" in warning


def test_logs_that_cannot_be_weighted_are_errors():
    one, half = np.ones(4), np.full(4, 0.5)
    with pytest.raises(ValueError, match="arrays of one length"):
        Log(one, half[:3], half)
    with pytest.raises(ValueError, match="one or more rows"):
        Log(one[:0], half[:0], half[:0])
    with pytest.raises(ValueError, match=r"propensity_N: 1 of 4 rows out of range, row 2 the first"):
        Log(one, np.array([0.5, 0.5, 0.0, 0.5]), half)
    with pytest.raises(ValueError, match="target_N: 4 of 4"):
        Log(one, half, one * 1.5)
    with pytest.raises(ValueError, match="reward_N: 1 of 4"):
        Log(np.array([1, np.nan, 1, 1]), half, half)
    with pytest.raises(ValueError, match="none of 4 logged rows"):
        replay(Log(one, half, np.zeros(4)))
    with pytest.raises(ValueError, match=r"for 4 rows; one per row each"):
        doubly_robust(Log(one, half, half), one[:3], one)
    with pytest.raises(ValueError, match="estimate both on the same log"):
        compare_policies(ips(Log(one, half, half)), ips(Log(one[:3], half[:3], half[:3])))
    with pytest.raises(ValueError, match="policy whose value is 0"):
        compare_policies(ips(Log(one, half, half)), ips(Log(0 * one, half, half)))
