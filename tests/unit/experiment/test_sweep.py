"""Offline against online: lifts against the law that knows them, correlations against SciPy, planted reversals."""

from __future__ import annotations

from datetime import date
from functools import partial

import numpy as np
import polars as pl
import pytest
from scipy.stats import kendalltau, spearmanr

from tests.helpers.never_saved import NeverSaved
from tests.helpers.toy_law import ToyLaw, candidates_with_durations, exposure_log
from watchline import metrics
from watchline.experiment.environments import OracleEnvironment
from watchline.experiment.offline_online import Draws, correlate, find_missed, quality
from watchline.experiment.patience import Patience
from watchline.experiment.policies import Policy
from watchline.experiment.processes import simulate
from watchline.experiment.remembering import RememberingModel
from watchline.experiment.requests import catalogues_of, draw_requests
from watchline.experiment.simulation import World
from watchline.experiment.statistics import kendall, spearman
from watchline.experiment.sweep import lift_draws, measure_sweep, plan_sweep
from watchline.experiment.sweep_page import add_sweep
from watchline.models.base import WatchTimeModel
from watchline.report import Page

LAW = ToyLaw(200, 100)
LOG = exposure_log(LAW, 4000).with_columns(duration_s=5.0 + pl.col("video_id") % 20)
TRAIN, EVAL = LOG.filter(pl.col("date") < date(2024, 3, 4)), LOG.filter(pl.col("date") == date(2024, 3, 4))


class LawModel(NeverSaved, WatchTimeModel):
    """Knows the toy law: its mean, and the median of the exponential part."""

    name = "law"
    statistics = ("median", "mean")

    def predict(self, table, statistics):
        asked = (table[name].to_numpy() for name in ("user_id", "video_id", "surface"))
        mean = LAW.mean_watch_time_s(*asked, None)
        return {name: mean * (np.log(2) if name == "median" else 1.0) for name in statistics}


@pytest.fixture(scope="module")
def swept():
    """A sweep around the model that knows the law, over 400 sessions of it."""
    sweep = plan_sweep({"law": RememberingModel(LawModel())}, "law", "mean", TRAIN, "watch_time_s")
    requests = draw_requests(EVAL, 400, seed=1)
    prepare = partial(candidates_with_durations, catalogues=catalogues_of(requests, LOG, "uniform", 3), size=8)
    arms = {"control": Policy("law", LawModel(), "mean"), "treatment": sweep.policies["noise 2"]}
    world = World(
        arms, OracleEnvironment(LAW), Patience(), prepare, top_k=2, pages=3, seed=1, expectation_runs=3,
        swept=sweep.policies, sweep_runs=3,
    )  # fmt: skip
    simulation = simulate(requests, np.full(len(requests), 10.0), world, progress=lambda message: None)
    users = simulation.users[simulation.user_N]
    return simulation, measure_sweep(sweep, EVAL, "watch_time_s", simulation.swept, users)


@pytest.fixture(scope="module")
def models(swept):
    return {model["model"]: model for model in swept[1]["models"]}


def test_a_swept_policy_has_the_expectation_of_the_arm_it_equals(swept, models):
    simulation, _ = swept
    for arm, name in (("control", "law"), ("treatment", "noise 2")):
        assert np.array_equal(simulation.expectations[arm].watch_s_N, simulation.swept[name])
        total = simulation.expectations[arm].watch_s_R.mean()
        assert simulation.swept[name].sum() == pytest.approx(total)
    lift = simulation.swept["noise 2"].sum() / simulation.swept["law"].sum() - 1
    assert models["noise 2"]["lift"] == pytest.approx(lift)


def test_lifts_are_in_the_order_of_the_damage(models):
    lift = {name: model["lift"] for name, model in models.items()}
    assert lift["law"] == lift["scaled"] == lift["mean only"] == lift["median only"] == 0.0
    assert lift["noise 2"] < lift["noise 0.5"] < 0
    assert models["noise 2"]["high"] < 0
    # By chance, and by what all users watched: appeal is the video's own, so popularity is nearly right.
    assert lift["by surface"] < lift["by video"]
    assert lift["by surface"] == pytest.approx(lift["shuffled"], abs=0.12)


def test_offline_metrics_are_those_of_the_rows(models):
    label, user = EVAL["watch_time_s"].to_numpy(), EVAL["user_id"].to_numpy()
    right = LawModel().predict(EVAL, ["mean", "median"])
    assert models["law"]["mae_s"] == pytest.approx(metrics.mae(label, right["median"]))
    assert models["law"]["rmse_s"] == pytest.approx(metrics.rmse(label, right["mean"]))
    assert models["law"]["gauc"] == pytest.approx(metrics.gauc(label, right["mean"], user))
    assert models["scaled"]["calibration"] == pytest.approx(2 * metrics.calibration(label, right["mean"]))
    assert models["mean only"]["mae_s"] > models["law"]["mae_s"]


def test_what_was_planted_is_what_the_metrics_miss(swept):
    missed = {found["metric"]: found for found in swept[1]["missed"]}
    # Twice the scale hurts MAE more than a shuffle of a crowd's predictions hurts it, while it costs no watch time.
    assert missed["mae_s"]["reversed"] > 0 and "MAE prefers" in missed["mae_s"]["text"]
    worst = missed["mae_s"]["worst"]
    assert worst["better_offline"]["value"] < worst["worse_offline"]["value"]
    assert worst["better_offline"]["lift"] < worst["worse_offline"]["lift"]


def test_the_page_has_a_chart_for_each_metric(swept, tmp_path):
    page = Page("abtest", "Test")
    add_sweep(page, swept[1])
    page.write(tmp_path / "abtest/index.html")
    text = (tmp_path / "abtest/index.html").read_text()
    assert all(f"Lift against {name}" in text for name in ("MAE", "RMSE", "calibration", "XAUC", "GAUC"))


def test_rank_correlations_are_scipys_with_ties_and_nan_for_constants():
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 6, (20, 9)).astype(float), generator.integers(0, 6, (20, 9)).astype(float)
    assert spearman(x, y) == pytest.approx([spearmanr(*row).statistic for row in zip(x, y)])
    assert kendall(x, y) == pytest.approx([kendalltau(*row).statistic for row in zip(x, y)])
    assert np.isnan([spearman(x, np.ones_like(y)), kendall(np.ones_like(x), y)]).all()


def test_the_interval_of_a_lift_covers_the_truth_at_its_rate():
    """400 users with gamma watch time under the control and 0.9 of another's, the true lift being -10 %."""
    generator = np.random.default_rng(3)
    user, runs, covered = np.arange(400), 120, 0
    for _ in range(runs):
        shared = generator.gamma(2.0, 10.0, 400)
        sums = [shared * generator.gamma(20.0, 0.05, 400), 0.9 * shared * generator.gamma(20.0, 0.05, 400)]
        draws = lift_draws(sums, 0, user, pl.Series(user))
        low, high = np.percentile(draws.draws_RM[:, 1], [2.5, 97.5])
        covered += low <= -0.1 <= high
    assert 106 <= covered <= 119  # the 0.3 % and 99.7 % quantiles of Bin(120, .95), a little wider


def test_sessions_of_users_without_rows_are_an_error():
    with pytest.raises(ValueError, match="1 of 3 sessions are of users without a row"):
        lift_draws([np.ones(3)], 0, np.array([1, 2, 9]), pl.Series([1, 2, 3]))


def draws(*values, spread=0.001):
    generator = np.random.default_rng(1)
    value_M = np.array(values)
    return Draws(value_M, value_M + generator.normal(0, spread, (200, len(value_M))))


def test_a_metric_that_orders_as_lift_does_correlates_fully_and_misses_nothing():
    better = draws(3.0, 2.0, 1.0), draws(-0.2, -0.1, 0.0)
    assert correlate("mae_s", *better)["spearman"] == correlate("mae_s", *better)["kendall"] == pytest.approx(1)
    assert correlate("xauc", *better)["spearman"] == pytest.approx(-1)
    found = find_missed("mae_s", ["a", "b", "c"], *better)
    assert (found["told_apart"], found["reversed"], found["worst"]) == (3, 0, None)
    assert found["text"].startswith("MAE reverses nothing here")


def test_calibration_is_as_far_off_by_half_as_by_double():
    half, double, right, none = quality("calibration", np.array([[0.5, 2.0, 1.0, 0.0]]))[0]
    assert np.isnan(quality("calibration", np.array([np.nan])))
    assert half == pytest.approx(double) and none < half < right == 0


def test_the_worst_reversed_pair_is_named_with_its_numbers():
    found = find_missed("mae_s", ["a", "b", "c"], draws(2.0, 3.0, 4.0), draws(-0.3, 0.0, 0.1))
    assert found["reversed"] == 3
    assert found["text"].startswith(
        "MAE prefers `a` to `c` (2.000 s against 4.000 s), whose lift is higher (+10.00% against -30.00%)"
    )
    blind = find_missed("calibration", ["a", "b"], draws(1.0, 2.0), draws(0.0, 0.0))
    assert (blind["blind"], blind["told_apart"]) == (1, 0)
    assert correlate("calibration", draws(1.0, 1.0, spread=0), draws(0.0, 0.1))["spearman"] is None
