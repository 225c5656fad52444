"""Policies: the best first, exploration with the chances that it says, and a long view from the whole distribution."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tests.helpers.never_saved import NeverSaved
from tests.helpers.toy_law import KnowingModel, ToyLaw
from watchline.config import ConfigError
from watchline.experiment import trained
from watchline.experiment.config import AbtestConfig
from watchline.experiment.policies import LONG_VIEW, Policy, best_of, statistics_of
from watchline.models.base import DistributionModel

LAW = ToyLaw(5, 30)
SCORES = np.array([[0.0, 2.0, 1.0, 3.0]])


class ExponentialModel(NeverSaved, DistributionModel):
    """Watch time is exponential of mean `appeal`, so that P(Y >= y) = exp(-y / appeal)."""

    name = "exponential"
    statistics = ("mean",)

    def predict(self, table, statistics):
        return {"mean": table["appeal"].to_numpy()}

    def cumulative(self, table):
        below = 1 - np.exp(-table["watch_time_s"].to_numpy() / table["appeal"].to_numpy())
        return below, below


def explorer(**exploration):
    return Policy("model", KnowingModel(LAW), "mean", **exploration)


def test_the_best_k_come_first_and_ties_go_to_the_earlier():
    scores = np.array([[1.0, 5.0, 5.0, 0.0], [9.0, 8.0, 7.0, 9.5]])
    assert best_of(scores, 2).tolist() == [[1, 2], [7, 4]]
    with pytest.raises(ValueError, match="best 5 of 4"):
        best_of(scores, 5)


def test_without_exploration_the_best_is_shown_for_sure():
    rows, chance = explorer().rank(SCORES, 3, np.random.default_rng(0))
    assert rows.tolist() == [[3, 1, 2]] and chance.tolist() == [[1.0, 1.0, 1.0]]
    assert explorer().first_chances(SCORES).tolist() == [[0.0, 0.0, 0.0, 1.0]]


@pytest.mark.parametrize("exploration", [{"epsilon": 0.4}, {"temperature": 1.5}])
def test_exploration_shows_distinct_candidates_with_the_chances_it_logs(exploration):
    """Over many requests with the same scores: the share of each ordered pair is the product of its logged chances."""
    policy, num_requests = explorer(**exploration), 60_000
    rows, chance = policy.rank(np.repeat(SCORES, num_requests, axis=0), 2, np.random.default_rng(1))
    place = rows % 4
    assert (place[:, 0] != place[:, 1]).all()
    for first in range(4):
        for second in set(range(4)) - {first}:
            is_pair = (place[:, 0] == first) & (place[:, 1] == second)
            logged = np.unique(chance[is_pair].prod(axis=1).round(9))
            assert len(logged) == 1 and is_pair.mean() == pytest.approx(logged[0], abs=0.01)
    shares = np.bincount(place[:, 0], minlength=4) / num_requests
    assert shares == pytest.approx(policy.first_chances(SCORES)[0], abs=0.01)
    assert policy.first_chances(SCORES).sum() == pytest.approx(1)


def test_exploring_in_two_ways_at_once_is_an_error():
    with pytest.raises(ValueError, match="exclude"):
        explorer(epsilon=0.1, temperature=1.0)


def test_a_long_view_is_the_chance_to_reach_the_end_or_18_seconds():
    model = ExponentialModel()
    table = pl.DataFrame({"appeal": [10.0, 10.0, 20.0], "duration_s": [5.0, 60.0, None]})
    score = Policy("model", model, LONG_VIEW).score(table, 1)
    assert score[0] == pytest.approx(np.exp([-0.5, -1.8, -0.9]))
    assert LONG_VIEW in statistics_of(model) and LONG_VIEW not in statistics_of(KnowingModel(LAW))
    with pytest.raises(KeyError, match="duration_s"):
        Policy("model", model, LONG_VIEW).score(table.drop("duration_s"), 1)


def test_a_long_view_is_offered_for_models_of_watch_time_alone(tmp_path, monkeypatch):
    (tmp_path / "exponential").mkdir()
    (tmp_path / "exponential/model.json").touch()
    monkeypatch.setattr(trained, "load_model", lambda directory: ExponentialModel())
    config = AbtestConfig(control="exponential", control_statistic=LONG_VIEW)
    assert trained.load_arm(config, "control", tmp_path, "watch_time_s").statistic == LONG_VIEW
    message = r"abtest.control_statistic: .* knows mean \(a long view is of watch_time_s, and features.label is comment"
    with pytest.raises(ConfigError, match=message):
        trained.load_arm(config, "control", tmp_path, "comment_stay_s")


def test_a_statistic_that_the_model_lacks_is_an_error_that_names_both():
    table = pl.DataFrame({"user_id": [0], "video_id": [0], "surface": [0]})
    with pytest.raises(ValueError, match="'old' cannot predict 'median'; it knows mean"):
        Policy("old", KnowingModel(LAW), "median").score(table, 1)
