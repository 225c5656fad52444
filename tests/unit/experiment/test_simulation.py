"""A simulated test against the truth that its law knows."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from tests.helpers.toy_law import KnowingModel, ToyLaw, exposure_log
from watchline.experiment.analysis import expected_lift
from watchline.experiment.environments import OracleEnvironment
from watchline.experiment.page import build_page
from watchline.experiment.policies import Policy, best_of
from watchline.experiment.requests import draw_candidates, draw_requests
from watchline.experiment.simulation import simulate
from watchline.experiment.summary import Plan, summarise

LAW = ToyLaw(300, 100)
LOG = exposure_log(LAW, 6000)
REQUESTS = draw_requests(LOG.filter(pl.col("date") == date(2024, 3, 4)), 1200, seed=1)
CANDIDATES = draw_candidates(REQUESTS, LOG, 8, "uniform", 3, seed=1)
PAST = LOG.filter(pl.col("date") < date(2024, 3, 4)).group_by("user_id").agg(pl.col("watch_time_s").sum())
SILENT = {"progress": lambda message: None}


def policy(noise, name="model"):
    return Policy(name, KnowingModel(LAW, noise), "mean")


def run(control, treatment, seed=1):
    arms = {"control": policy(control, "old"), "treatment": policy(treatment, "new")}
    return arms, simulate(CANDIDATES, len(REQUESTS), arms, OracleEnvironment(LAW), 2, seed, **SILENT)


def summary(control, treatment, seed=1, salt="s"):
    arms, simulation = run(control, treatment, seed)
    users = pl.DataFrame({"user_id": simulation.users})
    before = users.join(PAST, on="user_id", how="left", maintain_order="left")["watch_time_s"].fill_null(0).to_numpy()
    return summarise(simulation, arms, before, OracleEnvironment(LAW), Plan(salt, 0.5, 50))


def test_the_best_k_come_first_and_ties_go_to_the_earlier():
    scores = np.array([[1.0, 5.0, 5.0, 0.0], [9.0, 8.0, 7.0, 9.5]])
    assert best_of(scores, 2).tolist() == [[1, 2], [7, 4]]
    with pytest.raises(ValueError, match="best 5 of 4"):
        best_of(scores, 5)


def test_a_policy_that_knows_the_law_shows_the_best_candidates():
    _, simulation = run(control=None, treatment=0.0)
    assert simulation.expected("treatment").sum() == pytest.approx(np.sort(simulation.mean_NC)[:, -2:].sum())
    assert simulation.expected("control").sum() == pytest.approx(np.sort(simulation.mean_NC)[:, :2].sum())


def test_the_same_seed_gives_the_same_answers_and_another_seed_others():
    first, again, other = (run(1.0, 0.0, seed)[1] for seed in (1, 1, 2))
    for arm in ("control", "treatment"):
        assert np.array_equal(first.answers[arm], again.answers[arm])
        assert not np.array_equal(first.answers[arm], other.answers[arm])


def test_the_interval_covers_the_true_lift_at_its_rate_or_above():
    """Users are a fixed crowd here, so that Welch's variance errs on the long side: coverage is at least 95 %."""
    covered = {"lift": 0, "cuped": 0}
    runs = 60
    for seed in range(runs):
        found = summary(1.0, 0.3, seed=seed, salt=f"s{seed}")
        interval, adjusted = found["interval"], found["cuped"]["interval"]
        covered["lift"] += interval["low"] <= found["true_lift"] <= interval["high"]
        covered["cuped"] += adjusted["low"] <= found["true_lift"] <= adjusted["high"]
    assert min(covered.values()) >= 52  # the 0.5 % quantile of Bin(60, .95)


def test_a_damaged_treatment_is_reported_as_worse_and_a_better_one_as_better():
    worse, better = summary(0.0, None), summary(None, 0.0)
    assert worse["verdict"]["status"] == "fail" and worse["interval"]["high"] < 0 and worse["true_lift"] < 0
    assert better["verdict"]["status"] == "pass" and better["interval"]["low"] > 0
    assert better["expected_s_per_exposure"]["best"] == pytest.approx(better["expected_s_per_exposure"]["treatment"])


def test_users_in_both_arms_give_the_lift_of_all_requests_with_a_narrower_interval():
    found = summary(1.0, 0.3)
    both, interval = found["both_arms"], found["both_arms"]["interval"]
    assert both["lift"] == pytest.approx(found["true_lift"])
    assert interval["low"] < both["lift"] < interval["high"]
    assert interval["high"] - interval["low"] < (found["interval"]["high"] - found["interval"]["low"]) / 2


def test_two_equal_arms_have_no_true_lift_and_a_clean_aa_row():
    found = summary(0.0, 0.0)
    assert found["true_lift"] == 0.0
    assert found["both_arms"] == {"lift": 0.0, "interval": {"low": 0.0, "high": 0.0}, "p_value": 1.0}
    assert found["verdict"]["status"] == "info"
    assert found["aa"]["interval"]["low"] <= 0 <= found["aa"]["interval"]["high"]
    assert found["aa"]["false_positive_band"]["low"] <= found["aa"]["false_positive_rate"]
    assert found["aa"]["false_positive_rate"] <= found["aa"]["false_positive_band"]["high"]


def test_arms_part_the_users_and_their_requests():
    found = summary(0.0, 1.0)
    control, treatment = found["arms"]["control"], found["arms"]["treatment"]
    assert control["requests"] + treatment["requests"] == len(REQUESTS)
    assert control["users"] + treatment["users"] == REQUESTS["user_id"].n_unique()
    assert control["exposures"] == 2 * control["requests"]
    assert found["srm_p"] > 0.001


def test_expected_lift_is_that_of_the_totals():
    assert expected_lift(np.array([[2.0, 4.0]]), np.array([[1.0, 3.0]])) == pytest.approx(0.5)


def test_a_statistic_that_the_model_lacks_is_an_error_that_names_both():
    with pytest.raises(ValueError, match="'old' cannot predict 'median'; it knows mean"):
        Policy("old", KnowingModel(LAW), "median").show(CANDIDATES, len(REQUESTS), 2)


def test_the_page_says_what_was_measured(tmp_path):
    asked = {"requests": 1200, "candidates": 8, "top_k": 2, "retrieval": "uniform"}
    asked |= {"catalogue_days": 3, "pre_period_days": 3}
    result = summary(1.0, 0.0) | {"asked": asked, "window": {"eval_first": "2024-03-04", "eval_last": "2024-03-04"}}
    build_page(result).write(tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text()
    assert result["verdict"]["text"] in text
    assert "true lift" in text and f"{result['true_lift']:+.2%}" in text
