"""A simulated test against the truth that its law knows."""

from __future__ import annotations

from datetime import date
from functools import partial

import numpy as np
import polars as pl
import pytest
from scipy.stats import false_discovery_control

from tests.helpers.toy_law import KnowingModel, ToyLaw, candidates_with_durations, exposure_log
from watchline.experiment.environments import OracleEnvironment
from watchline.experiment.estimators import SECONDARY
from watchline.experiment.page import build_page
from watchline.experiment.patience import Patience
from watchline.experiment.policies import Policy
from watchline.experiment.processes import simulate
from watchline.experiment.requests import catalogues_of, draw_requests
from watchline.experiment.simulation import World
from watchline.experiment.statistics import plan_test
from watchline.experiment.summary import Plan, summarise

LAW = ToyLaw(300, 100)
LOG = exposure_log(LAW, 6000)
REQUESTS = draw_requests(LOG.filter(pl.col("date") == date(2024, 3, 4)), 1200, seed=1)
CATALOGUES = catalogues_of(REQUESTS, LOG, "uniform", 3)
PAST = LOG.filter(pl.col("date") < date(2024, 3, 4)).group_by("user_id").agg(pl.col("watch_time_s").sum())
MARGINS = {"completion_rate": 0.1, "quick_skip_rate": 0.1, "exposures_per_session": 0.1}
EXPECTED_S = np.full(len(REQUESTS), 10.0)


def policy(noise, name="model", **exploration):
    return Policy(name, KnowingModel(LAW, noise), "mean", **exploration)


def run(seed=1, processes=1, requests=REQUESTS, **noises):
    """A simulation of the arms of the given noises (None ranks from worst to best)."""
    arms = {arm: policy(noise, f"{arm} model") for arm, noise in noises.items()}
    prepare = partial(candidates_with_durations, catalogues=CATALOGUES, size=8)
    world = World(arms, OracleEnvironment(LAW), Patience(), prepare, top_k=2, pages=3, seed=seed, expectation_runs=4)
    expected_s = EXPECTED_S[: len(requests)]
    return arms, simulate(requests, expected_s, world, processes=processes, progress=lambda message: None)


def summary(seed=1, salt="s", margins=None, **noises):
    arms, simulation = run(seed, **noises)
    users = pl.DataFrame({"user_id": simulation.users})
    before = users.join(PAST, on="user_id", how="left", maintain_order="left")["watch_time_s"].fill_null(0).to_numpy()
    return summarise(simulation, arms, before, OracleEnvironment(LAW), Plan(salt, 0.5, 30, margins or {}))


def test_a_policy_that_knows_the_law_has_the_best_first_page():
    page_s = run(control=None, treatment=0.0)[1].page_s
    assert page_s["treatment"] == pytest.approx(page_s["best"])
    assert page_s["control"] < page_s["random"] < page_s["best"]


def test_the_same_seed_gives_the_same_log_and_another_seed_another():
    first, again, other = (run(seed, control=1.0, treatment=0.0)[1] for seed in (1, 1, 2))
    assert first.log.equals(again.log) and not first.log.equals(other.log)


def test_two_processes_give_the_same_bytes_as_one():
    alone, shared = (run(processes=processes, control=1.0, treatment=0.0)[1] for processes in (1, 2))
    assert alone.log.equals(shared.log)
    assert alone.page_s == shared.page_s
    for arm in ("control", "treatment"):
        for name, values in vars(alone.totals[arm]).items():
            assert values.tobytes() == getattr(shared.totals[arm], name).tobytes()
        assert alone.expectations[arm].watch_s_R.tobytes() == shared.expectations[arm].watch_s_R.tobytes()


def test_totals_are_those_of_the_log():
    _, simulation = run(control=1.0, treatment=0.0)
    of_arm = simulation.log.filter(pl.col("arm") == "treatment")
    totals = simulation.totals["treatment"]
    assert totals.exposures.sum() == len(of_arm)
    assert totals.watch_s.sum() == pytest.approx(of_arm["watch_time_s"].sum())
    assert totals.skips.sum() == (of_arm["watch_time_s"] < 1).sum()
    of_session = of_arm.group_by("request_id").len().sort("request_id")["len"].to_numpy()
    assert np.array_equal(of_session, totals.exposures) and of_session.max() == 6
    assert 0 < totals.completions.sum() < len(of_arm)


def test_the_expectation_is_what_sessions_come_to_on_average():
    """30 independent runs of all sessions against 120 runs of the expectation."""
    drawn, expected = [], []
    for seed in range(30):
        _, simulation = run(seed, requests=REQUESTS[:200], treatment=0.0)
        drawn.append([simulation.totals["treatment"].watch_s.sum(), simulation.totals["treatment"].exposures.sum()])
        expectation = simulation.expectations["treatment"]
        expected.append([expectation.watch_s_R.mean(), expectation.exposures_R.mean()])
    # Each seed draws candidates and users' patience anew, so seed by seed they must agree on average.
    gap = np.array(drawn) - np.array(expected)
    error = gap.std(axis=0, ddof=1) / np.sqrt(len(gap))
    assert (np.abs(gap.mean(axis=0)) < 3.5 * error).all()
    assert (error < 0.02 * np.mean(drawn, axis=0)).all()


def test_the_interval_covers_the_true_lift_at_its_rate_or_above():
    """Users are a fixed crowd here, so that Welch's variance errs on the long side: coverage is at least 95 %."""
    covered = {"lift": 0, "cuped": 0}
    runs = 25
    for seed in range(runs):
        found = summary(seed, f"s{seed}", control=1.0, treatment=0.3)
        interval, adjusted = found["interval"], found["cuped"]["interval"]
        covered["lift"] += interval["low"] <= found["true_lift"] <= interval["high"]
        covered["cuped"] += adjusted["low"] <= found["true_lift"] <= adjusted["high"]
    assert min(covered.values()) >= 20  # the 0.5 % quantile of Bin(25, .95)


def test_a_damaged_treatment_is_reported_as_worse_and_a_better_one_as_better():
    worse = summary(control=0.0, treatment=None, margins=MARGINS)
    better = summary(control=None, treatment=0.0, margins=MARGINS)
    assert worse["verdict"]["status"] == "fail" and worse["interval"]["high"] < 0 and worse["true_lift"] < 0
    assert worse["guardrails"]["exposures_per_session"]["verdict"] == "harmed"
    assert better["verdict"]["status"] == "pass" and better["interval"]["low"] > 0
    assert better["expected_s_per_exposure"]["best"] == pytest.approx(better["expected_s_per_exposure"]["treatment"])
    assert better["true_lift_error"] < 0.1 * better["true_lift"]


def test_better_videos_make_longer_sessions_so_the_lift_is_more_than_that_of_an_exposure():
    found = summary(control=None, treatment=0.0)
    assert found["metrics"]["exposures_per_session"]["lift"] > 0
    assert found["lift"] > found["metrics"]["watch_per_exposure"]["lift"]


def test_users_in_both_arms_give_a_lift_with_a_narrower_interval_than_the_test():
    found = summary(control=1.0, treatment=0.3)
    both, interval = found["both_arms"], found["both_arms"]["interval"]
    assert interval["low"] <= found["true_lift"] <= interval["high"]
    assert interval["low"] < both["lift"] < interval["high"]
    assert interval["high"] - interval["low"] < (found["interval"]["high"] - found["interval"]["low"]) / 1.4


def test_two_equal_arms_have_no_true_lift_and_a_clean_aa_row():
    found = summary(control=0.0, treatment=0.0)
    assert found["true_lift"] == 0.0 and found["true_lift_error"] == 0.0
    assert found["verdict"]["status"] == "info"
    assert found["aa"]["interval"]["low"] <= 0 <= found["aa"]["interval"]["high"]
    assert found["aa"]["false_positive_band"]["low"] <= found["aa"]["false_positive_rate"]
    assert found["aa"]["false_positive_rate"] <= found["aa"]["false_positive_band"]["high"]


def test_arms_part_the_users_and_their_sessions():
    found = summary(control=0.0, treatment=1.0, treatment_2=None)
    arms = found["arms"]
    assert sum(arm["requests"] for arm in arms.values()) == len(REQUESTS)
    assert sum(arm["users"] for arm in arms.values()) == REQUESTS["user_id"].n_unique()
    assert arms["control"]["users"] > 1.5 * arms["treatment_2"]["users"]  # a half against a quarter
    assert found["srm_p"] > 0.001


def test_every_treatment_is_compared_with_the_control_and_p_values_are_corrected():
    found = summary(control=0.5, treatment=0.3, treatment_2=None)
    more = found["more_arms"]
    assert list(more) == ["treatment", "treatment_2"]
    assert more["treatment"]["lift"] == found["lift"] and more["treatment"]["true_lift"] == found["true_lift"]
    assert more["treatment_2"]["interval"]["high"] < 0 and more["treatment_2"]["true_lift"] < 0
    assert all(arm["p_corrected"] >= arm["p_value"] for arm in more.values())


def test_the_page_says_what_was_measured(tmp_path):
    asked = {"requests": 1200, "candidates": 8, "top_k": 2, "pages": 3, "retrieval": "uniform"}
    asked |= {"catalogue_days": 3, "pre_period_days": 3, "patience": Patience().model_dump()}
    result = summary(control=1.0, treatment=0.0, treatment_2=0.5, margins=MARGINS)
    result |= {"asked": asked, "window": {"eval_first": "2024-03-04", "eval_last": "2024-03-04"}}
    build_page(result).write(tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text()
    assert result["verdict"]["text"] in text
    assert "true lift" in text and f"{result['true_lift']:+.2%}" in text
    assert "quick skip rate" in text and "treatment_2" in text
    for estimator in ("bootstrap of users (BCa)", "with CUPED", "both policies for every user, paired"):
        assert estimator in text
    assert "Could it have been stopped early?" in text and "q-value" in text
    assert f"{result['srm_users_for_one_percent']:,} users to be seen" in text


def test_looks_on_the_way_end_early_for_a_large_effect_and_never_for_none():
    worse = summary(control=0.0, treatment=None)["sequence"]
    assert worse["stopped_at"]["sessions"] < worse["sessions"][-1] and worse["high"][-1] < 0
    assert worse["stopped_at"]["day"] == "2024-03-04"
    same = summary(control=1.0, treatment=1.0)["sequence"]
    assert same["stopped_at"] is None and same["low"][-1] < 0 < same["high"][-1]
    assert len(same["sessions"]) > 10 and same["sessions"] == sorted(set(same["sessions"]))


def test_the_last_look_has_all_sessions_of_the_two_arms_and_none_of_others():
    found = summary(control=1.0, treatment=1.0, treatment_2=0.0)
    arms = {arm: found["arms"][arm] for arm in ("control", "treatment")}
    assert found["sequence"]["sessions"][-1] == sum(arm["requests"] for arm in arms.values())
    per_session = {
        arm: found["metrics"]["watch_per_user"][arm] * of["users"] / of["requests"] for arm, of in arms.items()
    }
    assert found["sequence"]["lift"][-1] == pytest.approx(per_session["treatment"] / per_session["control"] - 1)


def test_the_bootstrap_of_users_agrees_with_the_formulas():
    found = summary(control=1.0, treatment=0.3)
    for name, formula in (("watch_per_user", found), ("watch_per_exposure", found["metrics"]["watch_per_exposure"])):
        drawn, width = found["bootstrap"][name], formula["interval"]["high"] - formula["interval"]["low"]
        assert drawn["lift"] == pytest.approx(formula["lift"])
        for end in ("low", "high"):
            assert drawn["interval"][end] == pytest.approx(formula["interval"][end], abs=0.15 * width)


def test_q_values_are_over_each_quantity_once_and_a_guardrail_on_it_has_the_same():
    found = summary(control=1.0, treatment=0.3, margins={**MARGINS, "watch_of_tail_users": 0.2})
    q_values, metrics = found["q_values"], found["metrics"]
    compared = {name: metrics[name]["difference"]["p_value"] for name in SECONDARY}
    compared["watch_of_tail_users"] = found["guardrails"]["watch_of_tail_users"]["difference"]["p_value"]
    expected = false_discovery_control(list(compared.values()))
    assert [q_values[name] for name in compared] == pytest.approx(list(expected))
    assert q_values["quick_skip_rate"] == q_values["skips_per_exposure"]
    assert "watch_per_user" not in q_values


def test_power_before_the_run_is_that_of_the_pre_period():
    found = summary(control=1.0, treatment=0.0)
    users = pl.DataFrame({"user_id": REQUESTS["user_id"].unique()}).join(PAST, on="user_id", how="left")
    share = found["arms"]["treatment"]["users"] / len(users)
    planned = plan_test(users["watch_time_s"].fill_null(0).to_numpy(), 0.02, share)
    outlook = found["outlook"]
    assert outlook["power"] == pytest.approx(planned.power)
    assert outlook["detectable_lift"] == pytest.approx(planned.detectable_lift)
    assert tuple(outlook["users_needed"].values()) == planned.users_needed
