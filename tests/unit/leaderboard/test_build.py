"""A folder of runs becomes a table: the known winner, ties, what is missing, what does not belong."""

import csv
import json
import shutil

import numpy as np
import pytest

from tests.helpers.leaderboard_runs import noisy, rows, write_run, write_runs
from watchline import metrics
from watchline.config import ConfigError
from watchline.data.tables import read_parquet
from watchline.leaderboard.__main__ import main
from watchline.leaderboard.build import build
from watchline.report import read_json

MODELS = {"gr": noisy(9), "lightgbm": noisy(12), "vr": noisy(4), "both": noisy(1)}
BESIDE = {"both": "two models at once"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("runs"), MODELS, beside=BESIDE)


@pytest.fixture
def folder(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "runs")


def test_the_winner_is_the_best_single_model_and_the_subjects_gap_is_said(folder):
    board = build(folder, folder)
    assert {metric: win.model for metric, win in board.wins.items()} == {"mae_s": "vr", "xauc": "vr"}
    assert set(board.references.values()) == {"vr"}
    words = " ".join(board.verdict)
    assert "on this protocol `vr`" in words and "`gr` is not the winner in MAE" in words
    assert {(loss.slice, loss.bucket) for loss in board.behind} == {
        ("Video duration", "short"), ("Video duration", "long"), ("User activity", "seldom"),
        ("User activity", "often"), ("User activity", "unknown"),
    }  # fmt: skip
    assert all(loss.gap > 0 for loss in board.behind)


def test_numbers_are_mean_and_spread_of_the_seeds_predictions(folder):
    spread = build(folder, folder).summary["gr"]["mae_s"]
    frames = [read_parquet(folder / f"seed{seed}/data/evaluate/gr.parquet") for seed in (1, 2)]
    of_seeds = [metrics.mae(frame["watch_time_s"].to_numpy(), frame["median"].to_numpy()) for frame in frames]
    assert spread.mean == pytest.approx(np.mean(of_seeds)) and spread.sd == pytest.approx(np.std(of_seeds, ddof=1))
    assert (spread.low, spread.high, spread.seeds) == (pytest.approx(min(of_seeds)), pytest.approx(max(of_seeds)), 2)


def test_clear_differences_are_significant_and_have_the_sign_of_model_minus_reference(folder):
    found = {(each.model, each.metric): each for each in build(folder, folder).against_baseline}
    assert set(found) == {
        (name, metric) for name in ("gr", "vr", "both") for metric in ("mae_s", "rmse_s", "xauc", "gauc")
    }
    better = found["vr", "mae_s"]
    assert better.high < 0 and better.is_significant and better.p_corrected >= better.p_value
    assert found["vr", "xauc"].low > 0


def test_equal_models_are_not_told_apart(tmp_path):
    same = noisy(0, shift=3)
    board = build(write_runs(tmp_path, {"lightgbm": same, "gr": same}), tmp_path)
    assert all(each.value == 0 and each.p_value == 1 and not each.is_significant for each in board.against_baseline)
    assert board.wins["mae_s"].not_told_apart and not board.behind


def test_a_subject_that_wins_is_said_to(tmp_path):
    board = build(write_runs(tmp_path, {"gr": noisy(2), "lightgbm": noisy(12)}), tmp_path)
    assert board.verdict[-1] == "`gr` wins on both." and not board.behind


def test_seconds_of_a_resumed_fit_are_left_out(tmp_path):
    folder = write_runs(tmp_path, {"gr": noisy(2), "lightgbm": noisy(3)}, seeds=[1, 2, 3])
    spread = build(folder, folder).summary["gr"]["seconds"]
    assert (spread.mean, spread.seeds) == (3.5, 2)


def test_what_is_not_there_is_named_with_what_failed(folder):
    plan = read_json(folder / "plan.json")
    plan |= {
        "seeds": [1, 2, 3, 4],
        "models": [*plan["models"], "cqe"],
        "failures": {"3": ["stage train@cqe", "no loss"]},
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    board = build(folder, folder)
    assert board.seeds == [1, 2]
    assert board.missing == [
        "seed 1: no cqe", "seed 2: no cqe", "seed 3: failed: stage train@cqe / no loss", "seed 4: not run"
    ]  # fmt: skip


def test_seeds_on_other_rows_are_refused(folder):
    write_run(folder / "seed2", 2, MODELS, rows(seed=9))
    with pytest.raises(ValueError, match=r"seed2: its exposures or labels are not those of seed 1"):
        build(folder, folder)


def test_no_finished_run_is_an_error_that_tells_what_failed(folder):
    plan = read_json(folder / "plan.json") | {"seeds": [7], "failures": {"7": ["out of memory"]}}
    (folder / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(ValueError, match=r"(?s)no finished run of handmade.*seed 7: out of memory"):
        build(folder, folder)


def test_too_few_draws_for_the_correction_are_refused_with_how_many_it_takes(folder):
    plan = read_json(folder / "plan.json") | {"replicates": 300}
    (folder / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(ValueError, match=r"300 draws leave no corrected p of 12 comparisons below 0.05; ask .* 960"):
        build(folder, folder)


def test_an_unknown_key_of_the_plan_is_named(folder):
    plan = read_json(folder / "plan.json") | {"seedz": [1]}
    (folder / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(ConfigError, match=r"plan.json.seedz: unknown parameter"):
        build(folder, folder)


def test_few_users_give_a_page_that_tells_no_method_apart_and_says_why(tmp_path):
    folder = write_runs(tmp_path, MODELS, num_users=5)
    main(["--runs", str(folder), "--timings", str(folder), "--report", str(tmp_path / "report")])
    result = read_json(tmp_path / "report/metrics.json")
    compared = result["against_baseline"] + result["against_best"]
    assert {each["p_corrected"] for each in compared} == {each["low"] for each in compared} == {None}
    assert not any(each["significant"] for each in compared)
    assert "too few users for an interval" in " ".join(result["verdict"])
    html = (tmp_path / "report/index.html").read_text()
    assert "No interval: fewer than 20 users" in html and "Holm over the 0 comparisons" in html
    evaluated = read_json(folder / "seed1/reports/evaluate/metrics.json")
    ends = [interval for of_model in evaluated["intervals"].values() for interval in of_model.values()]
    ends += [found for of_model in evaluated["differences"].values() for found in of_model.values()]
    assert {interval["low"] for interval in ends} == {interval["high"] for interval in ends} == {None}


def test_csv_and_json_hold_the_measured_numbers_and_equal_runs_give_equal_bytes(folder, tmp_path, capsys):
    for out in ("first", "second"):
        main(["--runs", str(folder), "--timings", str(folder), "--report", str(tmp_path / out)])
    names = ["index.html", "leaderboard.csv", "metrics.json", "page.json"]
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == names
    assert all((tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes() for name in names)
    rows_ = list(csv.DictReader((tmp_path / "first/leaderboard.csv").open()))
    result = read_json(tmp_path / "first/metrics.json")
    assert [row["model"] for row in rows_] == ["both", "vr", "gr", "lightgbm"]  # by rising MAE
    for row in rows_:
        assert float(row["mae_s"]) == pytest.approx(result["models"][row["model"]]["mae_s"]["mean"])
    assert [bool(row["coverage"]) for row in rows_] == [False, False, True, False]
    assert "on this protocol vr" in capsys.readouterr().out
