"""Environments: the oracle is its law, the matrix its cells; the reward model is calibrated and draws real plays."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from tests.helpers.feature_table import COLUMNS, day_rows
from tests.helpers.toy_law import ToyLaw, exposure_log
from watchline.experiment.environments import MatrixEnvironment, OracleEnvironment, RewardModelEnvironment
from watchline.metrics import calibration, xauc

EVAL = pl.concat([day_rows(date(2024, 3, day), 2500, 80, 60, seed=0) for day in (5, 6)])


def test_oracle_samples_have_the_expectation_it_gives():
    law = ToyLaw(20, 30)
    log = exposure_log(law, 200)
    environment = OracleEnvironment(law)
    generator = np.random.default_rng(0)
    answers, rows = environment.answer(log), np.arange(200)
    drawn = np.mean([answers.draw(rows, generator) for _ in range(400)], axis=0)
    assert environment.is_truth
    assert np.mean(drawn / answers.mean_s) == pytest.approx(1, abs=0.01)


def test_draws_follow_the_rows_asked_for_whatever_their_shape():
    log = exposure_log(ToyLaw(20, 30), 50)
    matrix = MatrixEnvironment(log.unique(["user_id", "video_id"], maintain_order=True)[:1])
    oracle = OracleEnvironment(ToyLaw(20, 30))
    rows = np.array([[3, 3, 1], [0, 49, 7]])
    drawn = oracle.answer(log).draw(rows, np.random.default_rng(1))
    again = oracle.answer(log[rows.ravel()]).draw(np.arange(6), np.random.default_rng(1))
    assert drawn.shape == (2, 3) and np.array_equal(drawn.ravel(), again)
    assert matrix.answer(log[:1]).draw(np.zeros((2, 2), int), np.random.default_rng(1)).shape == (2, 2)


def full_matrix(without=((0, 0), (2, 3))) -> pl.DataFrame:
    user, video = (index.ravel() for index in np.indices((4, 5)))
    log = exposure_log(ToyLaw(4, 5), 20).with_columns(pl.Series("user_id", user), pl.Series("video_id", 10 * video))
    return log.filter(~pl.Series([(u, v) in without for u, v in zip(user, video, strict=True)]))


def test_the_matrix_answers_with_the_first_record_of_a_pair_and_knows_which_there_are():
    cells = full_matrix()
    later = cells[:3].with_columns(pl.col("exposed_at") + timedelta(days=30), pl.col("watch_time_s") + 100)
    matrix = MatrixEnvironment(pl.concat([later, cells]))
    answers = matrix.answer(cells)
    assert answers.mean_s.tolist() == cells["watch_time_s"].to_list()
    assert np.array_equal(answers.draw(np.arange(18), np.random.default_rng(0)), answers.mean_s)
    assert matrix.observed_share == 18 / 20 and not matrix.is_truth
    known = matrix.known(np.array([0, 2, 9]), np.array([0, 10, 30, 35]))
    assert known.tolist() == [[False, True, True, False], [True, True, False, False], [False] * 4]


def test_a_pair_without_a_record_and_a_log_that_is_no_matrix_are_errors():
    matrix = MatrixEnvironment(full_matrix())
    with pytest.raises(ValueError, match="2 exposures have no cell, such as user 0 and video 0"):
        matrix.answer(full_matrix(without=()))
    with pytest.raises(ValueError, match=r"no matrix; set abtest.environment to model"):
        MatrixEnvironment(exposure_log(ToyLaw(50, 60), 300))


@pytest.fixture(scope="module")
def reward() -> RewardModelEnvironment:
    return RewardModelEnvironment(EVAL, COLUMNS, seed=1, num_trees=60)


def test_reward_model_is_calibrated_and_ordered_on_another_day(reward):
    fresh = day_rows(date(2024, 3, 7), 3000, 80, 60, seed=0)
    expected = reward.answer(fresh).mean_s
    assert not reward.is_truth
    assert calibration(fresh["watch_time_s"], expected) == pytest.approx(1, abs=0.2)  # 40 users calibrate it
    assert xauc(fresh["watch_time_s"], expected) > 0.65
    assert reward.fit_quality["rows"] < len(EVAL)


def test_reward_model_samples_have_its_expectation_and_the_zeros_of_the_log(reward):
    generator = np.random.default_rng(0)
    answers, rows = reward.answer(EVAL), np.arange(len(EVAL))
    drawn = np.stack([answers.draw(rows, generator) for _ in range(40)])
    assert drawn.min() == 0.0
    assert (drawn == 0).mean() == pytest.approx((EVAL["watch_time_s"] == 0).mean(), abs=0.03)
    assert drawn.mean() == pytest.approx(answers.mean_s.mean(), rel=0.02)


def test_reward_model_knows_no_user_or_video_by_id(reward):
    renamed = EVAL.with_columns(pl.col("user_id") + 10_000, pl.col("video_id") + 10_000)
    assert np.array_equal(reward.answer(renamed).mean_s, reward.answer(EVAL).mean_s)


def test_the_same_seed_gives_the_same_answers(reward):
    again = RewardModelEnvironment(EVAL, COLUMNS, seed=1, num_trees=60)
    rows = np.arange(len(EVAL))
    drawn = [environment.answer(EVAL).draw(rows, np.random.default_rng(5)) for environment in (reward, again)]
    assert np.array_equal(*drawn)


def test_too_few_rows_for_a_reward_model_are_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match=r"30 labelled rows .*window.eval_days"):
        RewardModelEnvironment(EVAL.head(30), COLUMNS, seed=1)
