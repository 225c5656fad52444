"""Sessions: the law of patience by hand, and walks and expectations that follow it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from watchline.experiment.environments.matrix import MatrixAnswers
from watchline.experiment.patience import Patience, Temper, Viewers
from watchline.experiment.sessions import expect, walk

PATIENCE = Patience(stay_logit=1.0, spread=0.0, gain=0.5, skip_loss=2.0, memory=0.5, fatigue_per_minute=0.3)


def viewers(num_sessions, expected_s=9.0):
    return Viewers(np.zeros(num_sessions), np.full(num_sessions, expected_s))


def test_the_law_by_hand():
    temper, chance = Temper.at_start(3).after(np.array([9.0, 99.0, 0.5]), viewers(3), PATIENCE)
    mood = np.array([0.0, 0.5 * np.log(10), 0.5 * np.log(0.15) - 2.0])
    assert temper.mood_N == pytest.approx(mood)
    assert chance == pytest.approx(expit(1.0 + mood - 0.3 * np.array([9.0, 99.0, 0.5]) / 60))
    later, chance = temper.after(np.full(3, 9.0), viewers(3), PATIENCE)
    assert later.mood_N == pytest.approx(mood / 2) and later.elapsed_s_N.tolist() == [18.0, 108.0, 9.5]
    assert chance[0] == pytest.approx(expit(1.0 - 0.3 * 18 / 60))


def test_own_patience_is_the_users_and_has_the_spread():
    users = np.arange(20_000)
    first = Viewers.of(users, np.ones(len(users)), Patience(spread=0.7), seed=1).own_N
    assert first.std() == pytest.approx(0.7, rel=0.02) and first.mean() == pytest.approx(0.0, abs=0.02)
    assert np.array_equal(first[[5, 5]], Viewers.of(users[[5, 5]], np.ones(2), Patience(spread=0.7), seed=1).own_N)
    assert not np.allclose(first, Viewers.of(users, np.ones(len(users)), Patience(spread=0.7), seed=2).own_N)


def test_walks_end_as_the_law_says_and_the_expectation_is_exact_where_answers_are():
    """Fixed answers: only leaving is left to chance, and one run of the expectation is its closed form."""
    watch_s = np.array([20.0, 0.5, 9.0, 60.0])
    num_sessions = 40_000
    rows = np.tile(np.arange(4), (num_sessions, 1))
    answers = MatrixAnswers(watch_s)
    temper, reached = Temper.at_start(1), [1.0]
    for watched in watch_s[:3]:
        temper, chance = temper.after(np.array([watched]), viewers(1), PATIENCE)
        reached.append(reached[-1] * float(chance[0]))
    found = expect(rows, answers, viewers(num_sessions), PATIENCE, 2, np.random.default_rng(0))
    assert found.watch_s_R / num_sessions == pytest.approx([np.dot(reached, watch_s)] * 2)
    assert found.exposures_R / num_sessions == pytest.approx([sum(reached)] * 2)
    walked = walk(rows, answers, viewers(num_sessions), PATIENCE, np.random.default_rng(0))
    assert walked.is_shown_NP.mean(axis=0) == pytest.approx(reached, abs=0.01)
    assert np.array_equal(np.isnan(walked.watch_s_NP), ~walked.is_shown_NP)


def test_nobody_leaves_with_endless_patience_and_all_leave_at_once_with_none():
    rows = np.tile(np.arange(3), (50, 1))
    answers = MatrixAnswers(np.full(3, 9.0))
    for logit, length in ((50.0, 3), (-50.0, 1)):
        patience = Patience(stay_logit=logit, spread=0.0)
        walked = walk(rows, answers, viewers(50), patience, np.random.default_rng(0))
        assert (walked.length_N == length).all()
