"""Stage train@{model}: one model of the matrix on the training days, stopped early on the validation days.

    PYTHONPATH=src python -m watchline.stages.train --model gr --features data/features --out models/gr \
        --report reports/train/gr
"""

from __future__ import annotations

import argparse
import csv
import shutil
from pathlib import Path
from typing import Any

import polars as pl

from watchline.config import Config, load_section
from watchline.data.columns import Columns
from watchline.data.splits import Window
from watchline.data.tables import day_path, read_days
from watchline.metrics import mae, rmse, xauc
from watchline.models import model_module
from watchline.models.base import STATISTIC_OF_METRIC, Fit, FitContext, WatchTimeModel
from watchline.models.common import CommonConfig
from watchline.report import Facts, Figure, Page, Table, Text, charts, write_json
from watchline.stages import log, run_stage
from watchline.training.fingerprint import fingerprint
from watchline.training.seeding import seed_everything

METRICS = {"mae_s": mae, "rmse_s": rmse, "xauc": xauc}
_FORMATS = {"MAE s": ".3f", "RMSE s": ".2f", "XAUC": ".4f"}


def main(argv: list[str] | None = None) -> None:
    """Fit a model and write it, its validation metrics, its curves and its page."""
    args = _parser().parse_args(argv)
    window, common = load_section(Window, "window"), load_section(CommonConfig, "train.common")
    module = model_module(args.model)
    config = load_section(module.CONFIG, f"train.{args.model}")
    columns = Columns.read(args.features / "schema.json")
    train = read_days(args.features / "table", window.split_days("train"))
    valid = read_days(args.features / "table", window.split_days("valid"))
    log(f"train {args.model}: {len(train):,} training rows, {len(valid):,} validation rows")
    run_dir = args.runs / run_name(args.model, args.features, window, common, config)
    seed_everything(common.seed, common.num_threads)
    fit: Fit = module.fit(config, common, train, valid, columns, FitContext(run_dir, log))
    fit.model.save(args.out)
    metrics = _metrics(args.model, fit, train, valid, columns)
    _write_curves(fit.curves, args.report / "curves.csv")
    write_json(args.report / "metrics.json", metrics)
    _page(args.model, fit, metrics, config).write(args.report / "index.html")
    shutil.rmtree(run_dir, ignore_errors=True)  # the finished model is the output; nothing is left to rejoin


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Fit one model of the matrix.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/train"), help="folder for checkpoints")
    return parser


def run_name(model: str, features: Path, window: Window, common: Config, config: Config) -> str:
    days = window.split_days("train", "valid")
    params = {key: part.model_dump(mode="json") for key, part in [("common", common), ("model", config)]}
    files = [features / "schema.json", *(day_path(features / "table", day) for day in days)]
    return fingerprint({"name": model, "days": days, **params}, files)


def validation_metrics(model: WatchTimeModel, valid: pl.DataFrame, label: str) -> dict[str, float]:
    """MAE, RMSE and XAUC on labelled rows, each of the statistic that fits it."""
    predicted = model.predict(valid, tuple(STATISTIC_OF_METRIC.values()))
    truth = valid[label].to_numpy()
    return {name: metric(truth, predicted[STATISTIC_OF_METRIC[name]]) for name, metric in METRICS.items()}


def _metrics(name: str, fit: Fit, train: pl.DataFrame, valid: pl.DataFrame, columns: Columns) -> dict[str, Any]:
    return {
        "model": name,
        "valid": {**validation_metrics(fit.model, valid, columns.label), "rows": len(valid)},
        "train": {"rows": len(train)},
        "statistics": STATISTIC_OF_METRIC,
        **fit.facts,
    }


def _write_curves(curves: list[dict[str, float]], path: Path) -> None:
    """One row per validation, `step` first and the validation MAE last, where `dvc plots` looks for them."""
    names = list(dict.fromkeys(name for row in curves for name in row))
    last = [name for name in names if name == "valid_mae_s"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["step", *(n for n in names if n not in ("step", *last)), *last])
        writer.writeheader()
        writer.writerows({name: f"{value:.10g}" for name, value in row.items()} for row in curves)


def _page(name: str, fit: Fit, metrics: dict[str, Any], config: Config) -> Page:
    valid = metrics["valid"]
    lead = (
        f"{metrics['train']['rows']:,} training rows, {valid['rows']:,} validation rows. "
        "Each metric is of the statistic that fits it."
    )
    page = Page("train", f"Training of {name}", lead)
    page.key_figures({"MAE s": valid["mae_s"], "RMSE s": valid["rmse_s"], "XAUC": valid["xauc"]}, _FORMATS)
    rows = [[metric, STATISTIC_OF_METRIC[metric], valid[metric]] for metric in METRICS]
    page.section("Validation", Table(["metric", "statistic", "value"], rows, formats={"value": ".4f"}))
    page.section("Curves", *_figures(fit.curves))
    flat = {key: value for key, value in fit.facts.items() if not isinstance(value, dict)}
    page.section("Model", Facts(flat))
    for key, value in fit.facts.items():
        if isinstance(value, dict):
            page.section(key.capitalize(), Facts(value))
    page.section("Parameters", Facts(config.model_dump(mode="json")))
    return page


def _figures(curves: list[dict[str, float]]) -> list[Figure | Text]:
    names = [name for name in dict.fromkeys(name for row in curves for name in row) if name not in ("step", "epoch")]
    if not names:
        return [Text("This model has no curves.")]
    figures: list[Figure | Text] = []
    for name in names:
        rows = [row for row in curves if name in row]
        line = [row["step"] for row in rows], [row[name] for row in rows]
        figures.append(charts.line_chart({name: line}, "step", name, name))
    return figures


if __name__ == "__main__":
    run_stage(main)
