"""The evaluate stage on a small generated table and real models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.helpers.feature_table import COLUMNS, write_feature_table
from tests.helpers.small_models import WINDOW, fit_trees, write_params
from watchline import metrics
from watchline.config import ConfigError
from watchline.data.tables import day_path, read_days, read_parquet, write_parquet
from watchline.models import gr, load_model
from watchline.models.base import FitContext
from watchline.models.common import CommonConfig
from watchline.stages.evaluate import main, summary_line

EVALUATE = {"replicates": 100, "num_threads": 1}
ARGUMENTS = [
    "--models",
    "models",
    "--features",
    "data/features",
    "--out",
    "data/evaluate",
    "--report",
    "reports/evaluate",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with features, a weak `lightgbm`, a better `gr_finetuned` (trees too: the stage asks no names) and
    `small_gr`, which gives quantiles."""
    root = tmp_path_factory.mktemp("trained")
    write_feature_table(root / "data/features", rows_per_day=400)
    fit_trees(root / "data/features", root / "models/lightgbm", num_rounds=2)
    fit_trees(root / "data/features", root / "models/gr_finetuned", num_rounds=60)
    fit_small_gr(root / "data/features", root / "models/small_gr")
    return root


def fit_small_gr(features_dir: Path, model_dir: Path) -> None:
    """Fit and save a small GR model on the training days of WINDOW."""
    train, valid = (read_days(features_dir / "table", WINDOW.split_days(split)) for split in ("train", "valid"))
    config = gr.CONFIG(width=16, num_heads=2, ffn_width=32, epochs=2, batch_size=64, lr=0.01)
    context = FitContext(progress=lambda message: None)
    gr.fit(config, CommonConfig(num_threads=1, device="cpu"), train, valid, COLUMNS, context).model.save(model_dir)


@pytest.fixture
def folder(trained, tmp_path, monkeypatch) -> Path:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    write_params(tmp_path / "params.yaml", models=["lightgbm"], evaluate=EVALUATE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(folder: Path) -> dict:
    main(ARGUMENTS)
    return json.loads((folder / "reports/evaluate/metrics.json").read_text())


def test_a_fine_tune_that_was_skipped_is_passed_over(folder):
    shutil.rmtree(folder / "models/gr_finetuned")
    (folder / "models/gr_finetuned").mkdir()
    (folder / "models/gr_finetuned/skipped.json").write_text("{}")
    assert set(run(folder)["models"]) == {"lightgbm"}


def test_metrics_are_those_of_the_written_predictions_by_the_named_statistic(folder):
    result = run(folder)
    table = read_parquet(day_path(folder / "data/features/table", WINDOW.end))
    assert set(result["models"]) == {"lightgbm", "gr_finetuned"}
    for name, values in result["models"].items():
        written = read_parquet(folder / f"data/evaluate/{name}.parquet")
        label = table["watch_time_s"].to_numpy()
        assert written["exposure_id"].equals(table["exposure_id"])
        assert written.columns == [
            "exposure_id", "user_id", "date", "watch_time_s", "median", "mean", "expected_rank"
        ]  # fmt: skip
        of = {metric: written[statistic].to_numpy() for metric, statistic in result["statistics"].items()}
        assert values["rows"] == len(table)
        assert values["mae_s"] == pytest.approx(metrics.mae(label, of["mae_s"]))
        assert values["rmse_s"] == pytest.approx(metrics.rmse(label, of["rmse_s"]))
        assert values["xauc"] == pytest.approx(metrics.xauc(label, of["xauc"]))
        assert values["xauc_all_pairs"] == pytest.approx(metrics.xauc_all_pairs(label, of["xauc_all_pairs"]))
        assert values["calibration"] == pytest.approx(metrics.calibration(label, of["calibration"]))
    assert result["statistics"]["mae_s"] == "median" and result["statistics"]["rmse_s"] == "mean"
    assert result["window"]["eval_last"] == "2024-03-06"
    for split in ("train", "finetune"):
        days = read_parquet(folder / f"data/evaluate/{split}/lightgbm.parquet")["date"].unique().sort().to_list()
        assert days == WINDOW.split_days(split)


def test_intervals_are_measured_of_the_models_that_give_quantiles_and_written_with_them(folder):
    write_params(folder / "params.yaml", models=["lightgbm", "small_gr"], evaluate=EVALUATE)
    models = run(folder)["models"]
    assert "interval_80" not in models["lightgbm"] and "interval_80" in models["small_gr"]
    found = models["small_gr"]["interval_80"]
    written = read_parquet(folder / "data/evaluate/small_gr.parquet")
    label, low, high = (written[name] for name in ("watch_time_s", "quantile:0.1", "quantile:0.9"))
    expected = metrics.interval_metrics(label.to_numpy(), low.to_numpy(), high.to_numpy())
    assert {key: found[key] for key in expected} == pytest.approx(expected)
    table = read_parquet(day_path(folder / "data/features/table", WINDOW.end))
    cumulative = load_model(folder / "models/small_gr").cumulative(table)
    assert found["coverage_pit"] == pytest.approx(metrics.pit_coverage(*cumulative, 0.8))
    assert 0.5 < found["coverage"] < 1 and found["width_s"] > 0
    durations = read_parquet(day_path(folder / "data/features/table", WINDOW.end))["duration_s"]
    short = next(part for part in found["by_duration"] if part["bucket"] == "< 7 s")
    assert short["rows"] == (durations < 7).sum()
    assert "Prediction intervals" in (folder / "reports/evaluate/index.html").read_text()


def test_without_models_that_give_quantiles_there_is_no_section_on_intervals(folder):
    run(folder)
    assert "Prediction intervals" not in (folder / "reports/evaluate/index.html").read_text()


def test_best_constant_is_beaten_by_no_other_constant(folder):
    found = run(folder)["best_constant"]
    label = read_parquet(day_path(folder / "data/features/table", WINDOW.end))["watch_time_s"].to_numpy()
    for constant in np.linspace(0, 60, 200):
        assert found["mae_s"] <= metrics.mae(label, np.full_like(label, constant)) + 1e-9
        assert found["rmse_s"] <= metrics.rmse(label, np.full_like(label, constant)) + 1e-9


def test_differences_are_against_the_baseline_with_intervals_around_them(folder):
    result = run(folder)
    assert result["baseline"] == "lightgbm" and list(result["differences"]) == ["gr_finetuned"]
    found = result["differences"]["gr_finetuned"]["mae_s"]
    models = result["models"]
    assert found["value"] == pytest.approx(models["gr_finetuned"]["mae_s"] - models["lightgbm"]["mae_s"])
    assert found["low"] < found["value"] < found["high"] < 0


def test_outputs_are_the_same_bytes_twice(folder):
    outputs = ["reports/evaluate/metrics.json", "reports/evaluate/index.html", "data/evaluate/lightgbm.parquet"]
    run(folder)
    first = [(folder / path).read_bytes() for path in outputs]
    run(folder)
    assert first == [(folder / path).read_bytes() for path in outputs]


def test_page_has_every_model_statistic_and_slice(folder):
    run(folder)
    page = (folder / "reports/evaluate/index.html").read_text()
    for text in ("gr_finetuned", "best constant", "expected rank", "Video duration", "User activity", "Cold users"):
        assert text in page


def test_rows_with_unknown_duration_and_cold_ids_are_measured_in_slices_of_their_own(folder):
    path = day_path(folder / "data/features/table", WINDOW.end)
    table = read_parquet(path)
    changed = table.with_row_index("i").with_columns(
        pl.when(pl.col("i") < 5).then(None).otherwise(pl.col("duration_s")).alias("duration_s"),
        pl.when(pl.col("i") < 7).then(pl.lit(10**6)).otherwise(pl.col("user_id")).alias("user_id"),
    )
    changed.drop("i").write_parquet(path)
    run(folder)
    page = (folder / "reports/evaluate/index.html").read_text()
    assert "unknown" in page and "cold user, known video" in page


def test_a_baseline_that_is_not_trained_leaves_the_differences_out(folder):
    write_params(folder / "params.yaml", models=["lightgbm"], evaluate={**EVALUATE, "baseline": "gr"})
    assert "differences" not in run(folder)


def test_few_users_on_the_eval_days_leave_metrics_without_intervals_and_a_page_that_says_so(folder):
    for day in WINDOW.split_days("eval"):
        path = day_path(folder / "data/features/table", day)
        write_parquet(pl.read_parquet(path).filter(pl.col("user_id") <= 10), path)
    found = run(folder)
    assert found["users"] == 10
    for of_metric in (*found["intervals"].values(), *found["differences"].values()):
        assert {(interval["low"], interval["high"]) for interval in of_metric.values()} == {(None, None)}
    assert found["differences"]["gr_finetuned"]["mae_s"]["value"] < 0
    assert "No interval: fewer than 20 users" in (folder / "reports/evaluate/index.html").read_text()


@pytest.mark.parametrize(("xauc", "words"), [(0.0, "XAUC 0.0000"), (None, "XAUC nan"), (0.5, "XAUC 0.5000")])
def test_the_log_tells_an_xauc_of_zero_from_none(xauc, words):
    line = summary_line("gr", {"mae_s": 1.0, "rmse_s": 2.0, "xauc": xauc})
    assert line == f"gr: MAE 1.000 s, RMSE 2.000 s, {words}"


def test_a_missing_model_is_an_error_that_names_its_folder(folder):
    write_params(folder / "params.yaml", models=["lightgbm", "gr"], evaluate=EVALUATE)
    with pytest.raises(ValueError, match="models/gr is not a saved model"):
        main(ARGUMENTS)


@pytest.mark.parametrize(
    "evaluate, message",
    [
        ({"replicates": 1}, "evaluate.replicates: .*greater than or equal to 100, got 1"),
        ({"duration_edges_s": [7, 7]}, "evaluate.duration_edges_s: .*must rise"),
        ({"replicate": 100}, "evaluate.replicate: unknown parameter"),
    ],
)
def test_a_parameter_out_of_range_or_unknown_is_an_error_that_names_it(folder, evaluate, message):
    write_params(folder / "params.yaml", models=["lightgbm"], evaluate=evaluate)
    with pytest.raises(ConfigError, match=message):
        main(ARGUMENTS)
