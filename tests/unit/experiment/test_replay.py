"""The random log against the truth that its law knows: every estimator finds what a policy's first choice is worth."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tests.helpers.toy_law import KnowingModel, ToyLaw, exposure_log
from watchline.data.columns import Columns
from watchline.experiment.environments import ReplayEnvironment
from watchline.experiment.environments.replay import METHODS, distinct
from watchline.experiment.policies import Policy
from watchline.experiment.replay_page import build_replay_page
from watchline.experiment.replay_summary import summarise_replay
from watchline.experiment.statistics import holm

LAW = ToyLaw(200, 40)
COLUMNS = Columns(label="watch_time_s", keys=("user_id", "video_id"), categorical=("surface",), numeric=("appeal",))
SIZE = 4


def join(candidates: pl.DataFrame) -> pl.DataFrame:
    return candidates.with_columns(appeal=pl.Series(LAW.appeal_V[candidates["video_id"].to_numpy()]))


LOG = join(exposure_log(LAW, 6_000, days=2)).with_columns(is_random=pl.lit(True))


@pytest.fixture(scope="module")
def environment() -> ReplayEnvironment:
    return ReplayEnvironment(LOG, COLUMNS, 5_000, seed=1)


@pytest.fixture(scope="module")
def policies() -> dict[str, Policy]:
    arms = {"control": None, "treatment": 0.0}
    found = {arm: Policy(f"{arm} model", KnowingModel(LAW, noise), "mean") for arm, noise in arms.items()}
    return found | {"treatment_2": Policy("explorer", KnowingModel(LAW), "mean", epsilon=0.3)}


def true_value(policy: Policy, num_questions: int = 20_000) -> float:
    """Expected watch time of the first choice among SIZE videos drawn from the pool, users as in the log."""
    generator = np.random.default_rng(7)
    video = distinct(num_questions, SIZE, 40, generator)
    rows = LOG[generator.integers(0, len(LOG), num_questions)]
    candidates = rows.select("user_id", "surface")[np.repeat(np.arange(num_questions), SIZE)]
    candidates = candidates.with_columns(pl.Series("video_id", video.ravel()))
    asked = (candidates[name].to_numpy() for name in ("user_id", "video_id", "surface"))
    mean_NC = LAW.mean_watch_time_s(*asked, None).reshape(-1, SIZE)
    return float((policy.first_chances(policy.score(candidates, num_questions)) * mean_NC).sum(axis=1).mean())


def test_every_estimator_agrees_with_the_law_and_knows_its_effective_sample(environment, policies):
    for arm, choices in environment.ask(policies, SIZE, join).items():
        truth = true_value(policies[arm])
        for method, found in choices.estimates().items():
            assert abs(found.value - truth) < 4 * found.standard_error, (arm, method)
            assert not found.warnings
        share = 1.0 if not policies[arm].epsilon else 1 / ((0.7 + 0.075) ** 2 + 3 * 0.075**2)
        assert found.effective_sample_size == pytest.approx(5_000 / SIZE * share, rel=0.1)


def test_the_reward_model_of_dr_never_saw_the_users_whose_rows_it_corrects(environment):
    poisoned = LOG.with_columns(
        watch_time_s=pl.when(pl.col("user_id") == 3).then(1e6).otherwise(pl.col("watch_time_s"))
    )
    other = ReplayEnvironment(poisoned, COLUMNS, 5_000, seed=1)
    policy = {"control": Policy("m", KnowingModel(LAW), "mean")}
    before, after = (each.ask(policy, SIZE, join)["control"].predicted_N for each in (environment, other))
    of_user = environment.rows["user_id"].to_numpy() == 3
    assert of_user.any() and np.array_equal(before[of_user], after[of_user])
    assert not np.array_equal(before, after)


def test_a_better_policy_is_worth_a_test_and_a_damaged_one_is_not(environment, policies, tmp_path):
    result = summarise_replay(environment, policies, environment.ask(policies, SIZE, join))
    assert result["verdict"]["status"] == "pass" and result["interval"]["low"] > 0
    assert result["verdict"]["word"] == "Test online"
    assert result["verdict"]["text"].startswith("By the random log: test treatment model online")
    assert set(result["comparisons"]["treatment_2"]) == set(METHODS)
    p_values = [methods["dr"]["p_value"] for methods in result["comparisons"].values()]
    assert [methods["dr"]["p_corrected"] for methods in result["comparisons"].values()] == holm(p_values)
    swapped = {"control": policies["treatment"], "treatment": policies["control"]}
    assert summarise_replay(environment, swapped, environment.ask(swapped, SIZE, join))["verdict"]["status"] == "fail"
    result |= {"asked": {"candidates": SIZE}, "window": {"eval_first": "2024-03-01", "eval_last": "2024-03-02"}}
    build_replay_page(result).write(tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text()
    assert "nothing is simulated" in text and result["verdict"]["text"] in text


def test_a_log_that_is_too_small_is_warned_of_and_one_that_is_not_random_refused(policies):
    few = ReplayEnvironment(LOG, COLUMNS, 60, seed=1)
    result = summarise_replay(few, policies, few.ask(policies, SIZE, join))
    text = result["verdict"]["text"]
    assert result["verdict"]["status"] == "warn" and "effective rows" in text
    assert "treatment: " in text and "control: " in text and "treatment_2" not in text
    with pytest.raises(ValueError, match=r"none of 6,000 exposures .* set abtest.environment to model"):
        ReplayEnvironment(LOG.with_columns(is_random=pl.lit(False)), COLUMNS, 100, seed=1)
    with pytest.raises(ValueError, match=r"40 videos were shown at random, fewer than the 41 of abtest.candidates"):
        few.ask(policies, 41, join)


@pytest.mark.parametrize("count", [6, 400])
def test_distinct_numbers_are_distinct_and_uniform(count):
    drawn = distinct(20_000, 5, count, np.random.default_rng(0))
    assert all(len(set(row)) == 5 for row in drawn[:2000].tolist())
    counts = np.bincount(drawn.ravel(), minlength=count)
    assert len(counts) == count and counts == pytest.approx(counts.mean(), rel=0.35)
