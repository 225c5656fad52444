"""The drift stage on a small table: what was planted is found, what was not is not, and the bytes repeat."""

import json
import os
import re
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
TRAIN_DAY, FINETUNE_DAY = date(2024, 3, 1), date(2024, 3, 4)
EVAL_DAYS = [date(2024, 3, 5), date(2024, 3, 6)]
WINDOW = {"end": "2024-03-06", "eval_days": 2, "finetune_days": 1, "valid_days": 1, "train_days": 2}
ONLINE = {
    "arms": {"control": {"model": "lightgbm"}, "treatment": {"model": "gr"}},
    "environment": "oracle",
    "sweep": {
        "models": [
            {"model": "gr", "lift": 0.031, "low": 0.01, "high": 0.052},
            {"model": "lightgbm", "lift": 0.0, "low": 0.0, "high": 0.0},
            {"model": "noise 2", "lift": -0.3, "low": -0.4, "high": -0.2},
        ],
        "missed": [{"text": "MAE reverses nothing here."}],
    },
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
        of_day = {split: pl.lit(day) for split, day in (("train", TRAIN_DAY), ("finetune", FINETUNE_DAY))}
        write_parquet(lower.with_columns(date=of_day["train"]), directory / "evaluate/train" / f"{name}.parquet")
        near = pl.concat(parts[:1]).with_columns(date=of_day["finetune"])
        write_parquet(near, directory / "evaluate/finetune" / f"{name}.parquet")
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


def test_the_page_and_the_verdict_name_the_target_by_its_label(ran, metrics, tmp_path, monkeypatch):
    make_inputs(tmp_path)
    for path in [*tmp_path.glob("features/table/*/*.parquet"), *tmp_path.glob("evaluate/**/*.parquet")]:
        write_parquet(read_parquet(path).rename({"watch_time_s": "comment_stay_s"}), path)
    schema = tmp_path / "features/schema.json"
    schema.write_text(schema.read_text().replace('"watch_time_s"', '"comment_stay_s"'))
    monkeypatch.chdir(tmp_path)
    stage.main(arguments())
    named = {
        "watch time": (metrics, (ran / "index.html").read_text()),
        "comment stay": (
            json.loads((tmp_path / "reports/drift/metrics.json").read_text()),
            (tmp_path / "reports/drift/index.html").read_text(),
        ),
    }
    for label, (values, page) in named.items():
        assert re.search(rf"; {label} (drifted too|did not)\.$", values["verdict"]["text"])
        for said in (f"{label.capitalize()}, distance", f"{label.capitalize()} by day", f"Distance of {label} between"):
            assert said in page
    texts = named["comment stay"][0]["verdict"]["text"], named["comment stay"][1]
    # The lift is one of watch time, whatever the models predict.
    assert not any("watch time" in text.lower().replace("lift of expected watch time", "") for text in texts)


def test_the_judgement_is_that_of_method_and_threshold(metrics):
    assert metrics["columns"][0]["name"] == "watch_time_s"
    for drift in [*metrics["columns"], *metrics["windows"]]:
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


def between(metrics, reference, current, of):
    """Strengths by name between two windows."""
    keys = {"reference": reference, "current": current, "of": of}
    rows = [row for row in metrics["windows"] if keys.items() <= row.items()]
    return {row["name"]: row["value"] / row["threshold"] for row in rows}


def test_each_two_windows_are_compared_and_the_shift_lies_between_those_that_it_parts(metrics):
    shifted = [between(metrics, *pair, "features")["duration_s"] for pair in (("train", "eval"), ("finetune", "eval"))]
    assert min(shifted) > 2 * between(metrics, "train", "finetune", "features")["duration_s"]
    assert between(metrics, "train", "eval", "target")["watch_time_s"] == pytest.approx(
        metrics["target"]["distance"] / 0.1
    )
    same = {row["name"]: row["value"] for row in metrics["columns"][1:]}
    again = between(metrics, "train", "eval", "features")
    assert {name: again[name] * 0.1 for name in same} == pytest.approx(same)


def test_predictions_and_residuals_drift_where_they_were_moved(metrics):
    # Of gr alone the training days' statistics lie lower by 20 s, and those of the last day higher by 5 s.
    for name in ("median", "mean", "residual"):
        assert between(metrics, "train", "finetune", "gr")[name] > 1
        assert between(metrics, "train", "finetune", "lightgbm")[name] < 1
    assert between(metrics, "finetune", "eval", "gr")["residual"] > 1
    assert between(metrics, "finetune", "eval", "lightgbm")["residual"] < 1
    days = [day for day in metrics["residuals"] if day["model"] == "gr"]
    assert [day["split"] for day in days] == ["finetune", "eval", "eval"]
    assert days[2]["bias_s"] - days[1]["bias_s"] == pytest.approx(5.0, abs=0.5)


def test_every_day_has_its_distance_from_the_training_days(metrics):
    duration = [row for row in metrics["columns_by_day"] if row["column"] == "duration_s"]
    assert [row["date"] for row in duration] == [day["date"] for day in metrics["days"]]
    by_day = [row["value"] / row["threshold"] for row in duration]
    assert min(by_day[4:]) > 2 * max(by_day[:4])
    residual = [row for row in metrics["predictions_by_day"] if row["model"] == "gr" and row["column"] == "residual"]
    assert [row["date"] for row in residual] == ["2024-03-01", "2024-03-04", "2024-03-05", "2024-03-06"]
    assert residual[0]["value"] == pytest.approx(0, abs=1e-9) and residual[3]["value"] > residual[2]["value"] > 1


def test_errors_are_set_against_how_unusual_the_inputs_are(ran, metrics):
    parts = metrics["errors_by_decile"]
    assert len(parts) == 10 and sum(part["rows"] for part in parts) == 600
    assert [part["unusualness"] for part in parts] == sorted(part["unusualness"] for part in parts)
    gr, lightgbm = (sum(p["rows"] * p["models"][i]["mae_s"] for p in parts) / 600 for i in (0, 1))
    assert lightgbm == pytest.approx(1.0, abs=0.02) and gr > 2  # noise between -2 and 2; and 5 s on one of two days
    assert "Relative MAE on the most unusual part" in (ran / "index.html").read_text()


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
    assert beside["lightgbm"]["lift"] == 0.0 and "noise 2" not in beside
    assert "MAE reverses nothing here." in (ran / "index.html").read_text()


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
    with pytest.raises(ValueError, match=r"online.json: lacks arms"):
        stage.main(arguments())
