"""Drift of features, target, predictions and residuals, and offline metrics beside the simulated lift.

Run by `dvc repro drift`, or: python -m watchline.stages.drift --features data/features --predictions data/evaluate
--offline reports/evaluate/metrics.json --online reports/abtest/metrics.json --report reports/drift
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from watchline.config import load_section
from watchline.data.columns import Columns
from watchline.data.splits import Window
from watchline.data.tables import TableError, read_days, read_parquet, read_split
from watchline.drift.compare import (
    ColumnDrift,
    DriftConfig,
    Findings,
    compare_features,
    compare_numbers,
    evenly_spaced,
    plan_columns,
    unseen_share,
)
from watchline.drift.page import build_page
from watchline.report import read_json, write_json
from watchline.stages import log, run_stage

OFFLINE_METRICS = ("mae_s", "rmse_s", "xauc")


def main(argv: list[str] | None = None) -> None:
    """Compare, write metrics.json, the page and Evidently's own page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("features", "predictions", "offline", "online", "report"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    paths = parser.parse_args(argv)
    config = load_section(DriftConfig, "drift")
    window = load_section(Window, "window")
    offline, online = read_json(paths.offline, ["models"]), read_json(paths.online, ["arms", "lift", "interval"])
    columns = Columns.read(paths.features / "schema.json")

    frames = read_splits(paths.features / "table", window, columns)
    samples = {split: evenly_spaced(frame, config.max_rows) for split, frame in frames.items()}
    plan = plan_columns(samples["train"], samples["eval"], columns, config)
    log(f"comparing {len(plan.numeric)} numeric and {len(plan.categorical)} categorical columns")
    features, target, evidently_html = compare_features(samples["train"], samples["eval"], plan, columns.label, config)
    names = sorted(offline["models"])
    predictions = read_predictions(paths.predictions, names, columns.label)
    on_train = read_predictions(paths.predictions / "train", names, columns.label)
    findings = Findings(
        plan=plan,
        features=features,
        target=target,
        unseen={name: unseen_share(frames["train"][name], frames["eval"][name]) for name in plan.ids},
        days=target_by_day(paths.features / "table", window, columns.label),
        predictions={name: prediction_drift(on_train[name], predictions[name], config) for name in names},
        residuals={name: residuals_by_day(frame) for name, frame in predictions.items()},
        quality=offline_beside_online(offline, online),
        rows={split: (len(frames[split]), len(samples[split])) for split in frames},
    )
    write_json(paths.report / "metrics.json", as_json(findings, config, window))
    build_page(findings, samples, online, config, window).write(paths.report / "index.html")
    (paths.report / "evidently.html").write_text(evidently_html, encoding="utf-8")
    log(findings.judge(config)[1])


def read_splits(table: Path, window: Window, columns: Columns) -> dict[str, pl.DataFrame]:
    """Features and label of the training days and of the eval days; raises TableError for a split without rows."""
    names = list(dict.fromkeys([columns.label, *columns.categorical, *columns.numeric]))
    frames = {split: read_split(table, window, split, names) for split in ("train", "eval")}
    for split, frame in frames.items():
        if frame.is_empty():
            raise TableError(f"{table}: no rows of the {split} split ({window.described[split]}); move window.end")
    return frames


def read_predictions(directory: Path, names: list[str], label: str) -> dict[str, pl.DataFrame]:
    """Predicted rows of each model: date, `label`, statistics, and `residual`, the mean prediction minus the label."""
    residual = (pl.col("mean") - pl.col("label")).alias("residual")
    return {
        name: read_parquet(directory / f"{name}.parquet").rename({label: "label"}).with_columns(residual)
        for name in names
    }


def prediction_drift(train: pl.DataFrame, evaluated: pl.DataFrame, config: DriftConfig) -> dict[str, ColumnDrift]:
    """Drift of each statistic from training rows to eval rows, of the residual from the first eval day to the last.

    Residuals of training rows are no reference: the model was fitted on them. One eval day gives no `residual`.
    """
    keys = ("exposure_id", "user_id", "label", "date", "residual")
    sides = (evenly_spaced(frame.drop(keys), config.max_rows) for frame in (train, evaluated))
    drifts = compare_numbers(*sides, config.prediction)
    days = evaluated["date"].unique().sort()
    if len(days) > 1:
        ends = (evaluated.filter(pl.col("date") == day).select("residual") for day in (days[0], days[-1]))
        drifts |= compare_numbers(*(evenly_spaced(end, config.max_rows) for end in ends), config.prediction)
    return drifts


def residuals_by_day(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Per eval day: rows, mean absolute error of the median, bias of the mean, both in seconds."""
    by_day = frame.group_by("date", maintain_order=True).agg(
        pl.len().alias("rows"),
        (pl.col("median") - pl.col("label")).abs().mean().alias("mae_s"),
        pl.col("residual").mean().alias("bias_s"),
    )
    return by_day.sort("date").with_columns(pl.col("date").cast(pl.String)).to_dicts()


def target_by_day(table: Path, window: Window, label: str) -> list[dict[str, Any]]:
    """Per day of the window: its split, rows, mean and median of the label in seconds, share of zeros."""
    split = window.of_day() if window.rows is None else pl.lit("all splits")
    frame = read_days(table, window.days, ["date", label]).with_columns(split.alias("split"))
    by_day = frame.group_by("date", "split", maintain_order=True).agg(
        pl.len().alias("rows"),
        pl.col(label).mean().alias("mean_s"),
        pl.col(label).median().alias("median_s"),
        (pl.col(label) == 0).mean().alias("zero_share"),
    )
    return by_day.sort("date").with_columns(pl.col("date").cast(pl.String)).to_dicts()


def offline_beside_online(offline: dict[str, Any], online: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Per model: MAE, RMSE, XAUC, the arm it was in, and the lift of the treatment with its interval."""
    arm_of = {values["model"]: arm for arm, values in online["arms"].items()}
    quality: dict[str, dict[str, Any]] = {}
    for name, metrics in offline["models"].items():
        treated = arm_of.get(name) == "treatment"
        quality[name] = {
            **{key: metrics.get(key) for key in OFFLINE_METRICS},
            "arm": arm_of.get(name),
            "lift": online["lift"] if treated else None,
            "low": online["interval"]["low"] if treated else None,
            "high": online["interval"]["high"] if treated else None,
        }
    return quality


def as_json(findings: Findings, config: DriftConfig, window: Window) -> dict[str, Any]:
    """The content of metrics.json; details stand in lists, because DVC takes every number in a mapping for a metric."""
    status, text = findings.judge(config)
    whole = (window.start, window.end)  # where rows are split otherwise, both lie on all days
    splits = {split: window.ranges[split] if window.rows is None else whole for split in ("train", "eval")}
    return {
        "verdict": {"status": status, "text": text},
        "window": {split: {"first": first, "last": last} for split, (first, last) in splits.items()},
        "rows": [{"split": split, "all": rows, "compared": used} for split, (rows, used) in findings.rows.items()],
        "num_rows": findings.rows["eval"][0],
        "compared_columns": len(findings.features),
        "drifted_columns": findings.num_drifted,
        "share_drifted": findings.share_drifted,
        "target": {"distance": findings.target.value, "drifted": findings.target.drifted},
        "columns": [asdict(drift) for drift in (findings.target, *findings.features)],
        "left_out": findings.plan.left_out,
        "unseen": [{"name": name, "share": share} for name, share in findings.unseen.items()],
        "days": findings.days,
        "predictions": [
            {"model": model, **asdict(drift)}
            for model, drifts in findings.predictions.items()
            for drift in drifts.values()
        ],
        "residuals": [{"model": model, **day} for model, days in findings.residuals.items() for day in days],
        "offline_online": [{"model": model, **values} for model, values in findings.quality.items()],
    }


if __name__ == "__main__":
    run_stage(main)
