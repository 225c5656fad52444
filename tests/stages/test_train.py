"""Stage train on a tiny feature table: outputs, repeatability, resume after a kill, blindness to later rows."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.helpers.feature_table import write_feature_table
from watchline.config import ConfigError
from watchline.data.tables import TableError, day_path, read_days, write_parquet
from watchline.models import load_model
from watchline.stages import RUNS_VARIABLE, runs_folder, train
from watchline.training.timings import read_timing

ROOT = Path(__file__).parents[2]
STATISTICS = ("median", "mean", "expected_rank")
PARAMS = """
window: {end: "2024-03-06", eval_days: 1, finetune_days: 1, valid_days: 1, train_days: 3}
train:
  common:
    num_threads: 1
    device: cpu
    columns: {min_count: 3}
    encoder: {embedding_width: 4, hidden_width: 32, id_cardinality: 20}
  lightgbm: {num_rounds: 40, early_stopping_rounds: 10, min_rows_in_leaf: 10}
  gr:
    epochs: 4
    batch_size: 64
    width: 16
    lr: 0.01
    validations_per_epoch: 2
  cread: {epochs: 3, batch_size: 64, width: 16, num_thresholds: 20, lr: 0.01}
"""


def make_project(root: Path) -> Path:
    """A project root with params.yaml and a feature table of six days."""
    write_feature_table(root / "features")
    (root / "params.yaml").write_text(PARAMS)
    return root


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(make_project(tmp_path))
    return tmp_path


@pytest.fixture(scope="module", params=["lightgbm", "gr", "cread"])
def trained(request, tmp_path_factory) -> Path:
    """Outputs of one run: folders model/ and report/."""
    root = make_project(tmp_path_factory.mktemp(request.param))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        train.main(arguments(request.param, "a"))
    return root / "a"


def arguments(model: str, out: str) -> list[str]:
    paths = ["--features", "features", "--out", f"{out}/model", "--report", f"{out}/report", "--runs", f"{out}/runs"]
    return ["--model", model, *paths]


def contents(folder: Path) -> dict[str, bytes]:
    """Every output; what the stage keeps in `runs` is none."""
    files = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {str(name): path.read_bytes() for name, path in files.items() if name.parts[0] != "runs"}


def model_name(folder: Path) -> str:
    name: str = json.loads((folder / "model/model.json").read_text())["model"]
    return name


def test_training_writes_model_metrics_curves_and_page(trained):
    metrics = json.loads((trained / "report/metrics.json").read_text())
    valid = read_days(trained.parent / "features/table", [date(2024, 3, 4)])
    constant = np.abs(valid["watch_time_s"] - valid["watch_time_s"].median()).mean()
    assert metrics["model"] == model_name(trained)
    assert metrics["valid"]["mae_s"] < 0.9 * constant
    assert (metrics["train"]["rows"], metrics["valid"]["rows"]) == (600, 200)
    assert "<html" in (trained / "report/index.html").read_text()
    assert [path.name for path in (trained / "runs").glob("*")] == ["timings"]


def test_a_fit_is_timed_beside_its_checkpoints_and_found_by_its_metrics(trained):
    timing = read_timing(trained / "runs", model_name(trained), trained / "report/metrics.json")
    assert timing is not None
    assert (timing.rows, timing.device, timing.processes, timing.resumed) == (600, "cpu", 1, False)
    assert timing.seconds > 0 and timing.rows_per_s == pytest.approx(600 / timing.seconds)


def test_the_environment_names_the_folder_of_runs_and_it_must_be_absolute(monkeypatch, tmp_path):
    assert runs_folder("train") == Path("runs/train")
    monkeypatch.setenv(RUNS_VARIABLE, str(tmp_path))
    assert runs_folder("train") == tmp_path / "train"
    monkeypatch.setenv(RUNS_VARIABLE, "runs")
    with pytest.raises(ValueError, match=r"WATCHLINE_RUNS=runs: must be an absolute path"):
        runs_folder("train")


def test_curves_begin_with_the_step_and_end_with_the_metric_that_stops(trained):
    with (trained / "report/curves.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    metrics = json.loads((trained / "report/metrics.json").read_text())
    columns = list(rows[0])
    assert (columns[0], columns[-1]) == ("step", "valid_mae_s")
    best = min(float(row["valid_mae_s"]) for row in rows if row["valid_mae_s"])
    assert metrics["valid"]["mae_s"] == pytest.approx(best, rel=1e-3)


def test_a_loaded_model_predicts_what_the_metrics_say(trained):
    valid = read_days(trained.parent / "features/table", [date(2024, 3, 4)])
    metrics = json.loads((trained / "report/metrics.json").read_text())["valid"]
    measured = train.validation_metrics(load_model(trained / "model"), valid, "watch_time_s")
    interval = measured.pop("interval_80", {})
    assert measured == pytest.approx({name: metrics[name] for name in measured}, rel=1e-9)
    assert interval == pytest.approx(metrics.get("interval_80", {}), rel=1e-9)
    assert bool(interval) == (model_name(trained) != "lightgbm")


@pytest.mark.parametrize("model", ["lightgbm", "cread"])
def test_an_xauc_that_validation_rows_do_not_define_is_null_and_has_no_curve(project, model):
    path = day_path(project / "features/table", date(2024, 3, 4))
    write_parquet(pl.read_parquet(path).with_columns(watch_time_s=pl.lit(5.0)), path)
    train.main(arguments(model, "a"))
    valid = json.loads((project / "a/report/metrics.json").read_text())["valid"]
    assert valid["xauc"] is None and valid["mae_s"] > 0
    header = (project / "a/report/curves.csv").read_text().splitlines()[0].split(",")
    assert "valid_xauc" not in header and header[-1] == "valid_mae_s"
    assert "valid_xauc" not in (project / "a/report/index.html").read_text()


def test_a_second_run_with_other_later_rows_gives_the_same_bytes(trained, project):
    for day in (date(2024, 3, 5), date(2024, 3, 6)):
        path = day_path(project / "features/table", day)
        write_parquet(pl.read_parquet(path).with_columns(pl.col("watch_time_s") * 1000, user_id=pl.lit(999)), path)
    train.main(arguments(model_name(trained), "b"))
    assert contents(project / "b") == contents(trained)


def test_validation_rows_change_nothing_that_is_fitted(trained, project):
    """Encoder, vocabulary, thresholds and ranks stay as they are; only the step that is kept may be another."""
    path = day_path(project / "features/table", date(2024, 3, 4))
    write_parquet(pl.read_parquet(path).with_columns(pl.col("watch_time_s") * 3, pl.col("user_id") + 7), path)
    train.main(arguments(model_name(trained), "b"))
    a, b = contents(trained / "model"), contents(project / "b/model")
    fitted = [name for name in a if name.startswith(("encoder.", "config.", "ranks.", "prepared."))]
    assert len(fitted) >= 3
    assert all(a[name] == b[name] for name in fitted)


@pytest.mark.parametrize("trained", ["gr"], indirect=True)
def test_a_killed_and_repeated_stage_gives_the_same_bytes(trained, project):
    command = [sys.executable, "-m", "watchline.stages.train", *arguments("gr", "b")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((project / "b").glob("runs/*/step-*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "training ended before it could be killed"
    assert not (project / "b/model").exists()
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert "continuing from step" in again.stdout
    assert contents(project / "b") == contents(trained)


def test_other_params_do_not_rejoin_a_checkpoint(project):
    names = []
    for lr in ("0.01", "0.02"):
        (project / "params.yaml").write_text(PARAMS.replace("lr: 0.01", f"lr: {lr}"))
        config = train.load_section(train.model_module("gr").CONFIG, "train.gr")
        window, common = (
            train.load_section(train.Window, "window"),
            train.load_section(train.CommonConfig, "train.common"),
        )
        names.append(train.run_name("gr", project / "features", window, common, config, 1))
    assert names[0] != names[1]


def test_an_unknown_parameter_is_named(project):
    (project / "params.yaml").write_text(PARAMS.replace("width: 16", "witdh: 16"))
    with pytest.raises(ConfigError, match="witdh"):
        train.main(arguments("gr", "a"))


def test_an_unknown_model_is_answered_with_the_ones_there_are(project):
    with pytest.raises(ValueError, match="gr, lightgbm"):
        train.main(arguments("forest", "a"))


def test_a_missing_day_is_named(project):
    day_path(project / "features/table", date(2024, 3, 2)).unlink()
    with pytest.raises(TableError, match="2024-03-02"):
        train.main(arguments("lightgbm", "a"))
