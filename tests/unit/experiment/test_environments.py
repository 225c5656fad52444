"""Environments: the oracle is its law; the reward model is calibrated, labelled and drawn from real plays."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from tests.helpers.feature_table import COLUMNS, day_rows
from tests.helpers.toy_law import ToyLaw, exposure_log
from watchline.experiment.environments import OracleEnvironment, RewardModelEnvironment
from watchline.metrics import calibration, xauc

EVAL = pl.concat([day_rows(date(2024, 3, day), 2500, 80, 60, seed=0) for day in (5, 6)])


def test_oracle_samples_have_the_expectation_it_gives():
    law = ToyLaw(20, 30)
    log = exposure_log(law, 200)
    environment = OracleEnvironment(law)
    generator = np.random.default_rng(0)
    drawn = np.mean([environment.sample(log, generator) for _ in range(400)], axis=0)
    assert environment.is_truth
    assert np.mean(drawn / environment.mean_watch_time_s(log)) == pytest.approx(1, abs=0.01)


@pytest.fixture(scope="module")
def reward() -> RewardModelEnvironment:
    return RewardModelEnvironment(EVAL, COLUMNS, seed=1, num_trees=60)


def test_reward_model_is_calibrated_and_ordered_on_another_day(reward):
    fresh = day_rows(date(2024, 3, 7), 3000, 80, 60, seed=0)
    expected = reward.mean_watch_time_s(fresh)
    assert not reward.is_truth
    assert calibration(fresh["watch_time_s"], expected) == pytest.approx(1, abs=0.2)  # 40 users calibrate it
    assert xauc(fresh["watch_time_s"], expected) > 0.65
    assert reward.fit_quality["rows"] < len(EVAL)


def test_reward_model_samples_have_its_expectation_and_the_zeros_of_the_log(reward):
    generator = np.random.default_rng(0)
    drawn = np.stack([reward.sample(EVAL, generator) for _ in range(40)])
    assert drawn.min() == 0.0
    assert (drawn == 0).mean() == pytest.approx((EVAL["watch_time_s"] == 0).mean(), abs=0.03)
    assert drawn.mean() == pytest.approx(reward.mean_watch_time_s(EVAL).mean(), rel=0.02)


def test_reward_model_knows_no_user_or_video_by_id(reward):
    renamed = EVAL.with_columns(pl.col("user_id") + 10_000, pl.col("video_id") + 10_000)
    assert np.array_equal(reward.mean_watch_time_s(renamed), reward.mean_watch_time_s(EVAL))


def test_the_same_seed_gives_the_same_answers(reward):
    again = RewardModelEnvironment(EVAL, COLUMNS, seed=1, num_trees=60)
    answers = [environment.sample(EVAL, np.random.default_rng(5)) for environment in (reward, again)]
    assert np.array_equal(*answers)


def test_too_few_rows_for_a_reward_model_are_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match=r"30 labelled rows .*window.eval_days"):
        RewardModelEnvironment(EVAL.head(30), COLUMNS, seed=1)
