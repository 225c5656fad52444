"""The drift stage on a small table: what was planted is found, what was not is not, and the bytes repeat."""

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from tests.helpers.feature_table import write_feature_table
from watchline.data.tables import day_path, read_parquet, write_parquet
from watchline.stages import drift as stage

ROOT = Path(__file__).resolve().parents[2]
EVAL_DAYS = [date(2024, 3, 5), date(2024, 3, 6)]
WINDOW = {"end": "2024-03-06", "eval_days": 2, "finetune_days": 1, "valid_days": 1, "train_days": 2}
ONLINE = {
    "arms": {"control": {"model": "lightgbm"}, "treatment": {"model": "gr"}},
    "lift": 0.031,
    "interval": {"low": 0.01, "high": 0.052},
    "environment": "oracle",
}


def make_inputs(directory: Path, shift: bool = True, **overrides) -> Path:
    """Features (with `duration_s` doubled on the eval days if `shift`), predictions, metrics and params."""
    write_feature_table(directory / "features", rows_per_day=300)
    for i, day in enumerate(EVAL_DAYS):
        path = day_path(directory / "features" / "table", day)
        frame = read_parquet(path)
        if shift:
            write_parquet(frame.with_columns(pl.col("duration_s") * 2, topics=pl.lit("x")), path)
        for name in ("lightgbm", "gr"):
            noise = np.random.default_rng([i, len(name)]).permutation(np.linspace(-2, 2, len(frame)))
            bias = 5.0 * i if name == "gr" else 0.0
            predicted = frame.select("exposure_id", "user_id", "date", "watch_time_s").with_columns(
                (pl.col("watch_time_s") + noise + bias).alias(key) for key in ("median", "mean", "expected_rank")
            )
            write_parquet(predicted, directory / "days" / f"{name}-{day}.parquet")
    for name in ("lightgbm", "gr"):
        parts = [read_parquet(directory / "days" / f"{name}-{day}.parquet") for day in EVAL_DAYS]
        write_parquet(pl.concat(parts), directory / "evaluate" / f"{name}.parquet")
        # On the training days the statistics lie lower by 20 s for gr alone.
        drop = 20.0 if name == "gr" else 0.0
        lower = pl.concat(parts).with_columns(pl.col("median", "mean", "expected_rank") - drop)
        write_parquet(lower, directory / "evaluate/train" / f"{name}.parquet")
    metrics = {"mae_s": 4.0, "rmse_s": 6.0, "xauc": 0.6}
    offline = {"models": {"lightgbm": metrics, "gr": metrics | {"mae_s": 3.5}}}
    (directory / "offline.json").write_text(json.dumps(offline))
    (directory / "online.json").write_text(json.dumps(ONLINE))
    config = yaml.safe_load((ROOT / "conf/drift/default.yaml").read_text()) | overrides
    (directory / "params.yaml").write_text(yaml.safe_dump({"window": WINDOW, "drift": config}))
    return directory


def arguments(out: str = "reports/drift") -> list[str]:
    pairs = {
        "--features": "features",
        "--predictions": "evaluate",
        "--offline": "offline.json",
        "--online": "online.json",
        "--report": out,
    }
    return [word for pair in pairs.items() for word in pair]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    directory = make_inputs(tmp_path_factory.mktemp("drift"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        stage.main(arguments())
    return directory / "reports" / "drift"


@pytest.fixture(scope="module")
def metrics(ran):
    return json.loads((ran / "metrics.json").read_text())


@pytest.fixture(scope="module")
def columns(metrics):
    """Feature columns by name; the target comes first in the file."""
    return {drift["name"]: drift for drift in metrics["columns"][1:]}


def test_the_planted_shift_is_the_strongest_drift(metrics, columns):
    assert next(iter(columns)) == "duration_s"
    assert columns["duration_s"]["drifted"]
    assert metrics["drifted_columns"] == sum(column["drifted"] for column in columns.values())
    assert metrics["share_drifted"] == pytest.approx(metrics["drifted_columns"] / len(columns))


def test_the_judgement_is_that_of_method_and_threshold(metrics):
    assert metrics["columns"][0]["name"] == "watch_time_s"
    for drift in [*metrics["columns"], *metrics["predictions"]]:
        assert drift["drifted"] == (drift["value"] >= drift["threshold"])
        assert drift["method"] == ("jensenshannon" if drift["kind"] == "categorical" else "wasserstein")


def test_the_numeric_distance_is_the_one_described(ran, columns):
    from scipy.stats import wasserstein_distance

    table = ran.parents[1] / "features" / "table"
    days = [date(2024, 3, 1), date(2024, 3, 2)]
    train, evaluated = (
        pl.concat([read_parquet(day_path(table, day), ["duration_s"]) for day in part])["duration_s"].to_numpy()
        for part in (days, EVAL_DAYS)
    )
    assert columns["duration_s"]["value"] == pytest.approx(
        wasserstein_distance(train, evaluated) / train.std(), rel=1e-6
    )


def test_a_biased_day_is_drift_of_that_models_residual_only(metrics):
    residuals = {drift["model"]: drift["drifted"] for drift in metrics["predictions"] if drift["name"] == "residual"}
    assert residuals == {"gr": True, "lightgbm": False}
    first, last = (day["bias_s"] for day in metrics["residuals"] if day["model"] == "gr")
    assert last - first == pytest.approx(5.0, abs=0.5)


def test_predictions_of_the_eval_days_are_compared_with_those_of_the_training_days(metrics):
    medians = {drift["model"]: drift["drifted"] for drift in metrics["predictions"] if drift["name"] == "median"}
    assert medians == {"gr": True, "lightgbm": False}


def test_every_feature_column_is_compared_or_has_a_reason(ran, metrics, columns):
    schema = json.loads((ran.parents[1] / "features" / "schema.json").read_text())
    named = [*columns, *metrics["left_out"], *(unseen["name"] for unseen in metrics["unseen"])]
    assert sorted(named) == sorted([*schema["categorical"], *schema["numeric"]])
    assert metrics["left_out"] == {"weekday": "excluded by drift.exclude"}


def test_lift_stands_beside_the_offline_metrics_of_its_model(ran, metrics):
    beside = {values.pop("model"): values for values in metrics["offline_online"]}
    assert beside["gr"] == {
        "mae_s": 3.5, "rmse_s": 6.0, "xauc": 0.6, "arm": "treatment", "lift": 0.031, "low": 0.01, "high": 0.052,
    }  # fmt: skip
    assert beside["lightgbm"]["lift"] is None
    page = (ran / "index.html").read_text()
    assert "Offline, gr is better by MAE, equal by RMSE and XAUC than lightgbm; online its watch time is up." in page


def test_the_pages_need_no_network(ran):
    page = (ran / "index.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    evidently = (ran / "evidently.html").read_text()
    assert 'src="http' not in evidently and "<link" not in evidently


def test_another_process_writes_the_same_bytes(ran):
    directory = ran.parents[1]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-m", "watchline.stages.drift", *arguments("again")]
    subprocess.run(command, cwd=directory, env=environment, check=True, capture_output=True)
    for name in ("metrics.json", "index.html", "evidently.html"):
        assert (directory / "again" / name).read_bytes() == (ran / name).read_bytes(), name


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("offline.json", "offline.json: no such file"),
        ("evaluate/gr.parquet", "gr.parquet: no such file"),
        ("features/table/date=2024-03-05/part-0.parquet", "no file for 2024-03-05"),
    ],
)
def test_a_missing_input_is_named(tmp_path, monkeypatch, remove, message):
    make_inputs(tmp_path, max_rows=100)
    (tmp_path / remove).unlink()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        stage.main(arguments())


def test_metrics_without_an_arm_are_named(tmp_path, monkeypatch):
    make_inputs(tmp_path, max_rows=100)
    (tmp_path / "online.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"online.json: lacks arms, lift, interval"):
        stage.main(arguments())
