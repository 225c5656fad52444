"""Drift of features, target, predictions and residuals, and offline metrics beside the simulated lift.

Run by `dvc repro drift`, or: python -m watchline.stages.drift --features data/features --predictions data/evaluate
--offline reports/evaluate/metrics.json --online reports/abtest/metrics.json --report reports/drift
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from watchline.config import load_section
from watchline.data.columns import Columns
from watchline.data.spacing import evenly_spaced
from watchline.data.splits import Window
from watchline.data.tables import TableError, read_days, read_parquet, read_split
from watchline.drift.compare import (
    ColumnDrift,
    DriftConfig,
    Plan,
    compare_features,
    plan_columns,
    unseen_share,
)
from watchline.drift.findings import Findings
from watchline.drift.page import build_page
from watchline.drift.unusual import errors_by_decile, unusualness
from watchline.drift.windows import columns_by_day, drift_of_columns, drift_of_predictions, predictions_by_day
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
    offline, online = read_json(paths.offline, ["models"]), read_json(paths.online, ["arms"])
    columns = Columns.read(paths.features / "schema.json")

    frames = read_splits(paths.features / "table", window, columns)
    samples = {split: evenly_spaced(frame, config.max_rows) for split, frame in frames.items()}
    plan = plan_columns(samples["train"], samples["eval"], columns, config)
    log(f"comparing {len(plan.numeric)} numeric and {len(plan.categorical)} categorical columns")
    features, target, evidently_html = compare_features(samples["train"], samples["eval"], plan, columns.label, config)
    names = sorted(offline["models"])
    predicted = predicted_splits(paths.predictions, names, columns.label, window)
    predictions = predicted["eval"]
    worst = worst_plan(plan, features, config)
    log("comparing every two windows, and every day with the training days")
    findings = Findings(
        plan=plan,
        features=features,
        target=target,
        unseen={name: unseen_share(frames["train"][name], frames["eval"][name]) for name in plan.ids},
        days=target_by_day(paths.features / "table", window, columns.label),
        residuals={
            name: [
                day
                for split in predicted
                if split != "train"
                for day in residuals_by_day(predicted[split][name], split)
            ]
            for name in names
        },
        quality=offline_beside_online(offline, online),
        windows=[
            *drift_of_columns(samples, plan, columns.label, config, {("train", "eval"): [*features, target]}),
            *drift_of_predictions(predicted, config),
        ],
        columns_by_day=columns_by_day(
            samples["train"],
            read_days_apart(paths.features / "table", window, worst, columns.label, config),
            worst,
            columns.label,
            config,
        ),
        predictions_by_day=predictions_by_day(predicted, config),
        errors_by_decile=errors_where_unusual(samples["train"], frames["eval"], predictions, plan),
        rows={split: (len(frames[split]), len(samples[split])) for split in frames},
    )
    write_json(paths.report / "metrics.json", as_json(findings, config, window))
    build_page(findings, samples, online, config, window).write(paths.report / "index.html")
    (paths.report / "evidently.html").write_text(evidently_html, encoding="utf-8")
    log(findings.judge(config)[1])


def read_splits(table: Path, window: Window, columns: Columns) -> dict[str, pl.DataFrame]:
    """Features and label of the training, finetune and eval days; raises TableError for a split without rows.

    Where rows are split otherwise, or there are no finetune days, there are two splits.
    """
    names = list(dict.fromkeys(["exposure_id", columns.label, *columns.categorical, *columns.numeric]))
    frames = {split: read_split(table, window, split, names) for split in splits_of(window)}
    for split, frame in frames.items():
        if frame.is_empty():
            raise TableError(f"{table}: no rows of the {split} split ({window.described[split]}); move window.end")
    return frames


def splits_of(window: Window) -> tuple[str, ...]:
    """The splits that are compared."""
    has_finetune = window.rows is None and window.finetune_days
    return ("train", "finetune", "eval") if has_finetune else ("train", "eval")


def worst_plan(plan: Plan, features: list[ColumnDrift], config: DriftConfig) -> Plan:
    """The columns that are followed day by day: those that moved most."""
    names = {drift.name for drift in features[: config.worst_columns]}
    return Plan([c for c in plan.numeric if c in names], [c for c in plan.categorical if c in names], [], {})


def read_days_apart(
    table: Path, window: Window, plan: Plan, label: str, config: DriftConfig
) -> dict[date, pl.DataFrame]:
    """At most `max_rows` evenly spaced rows of each day of the window: the planned columns and the label."""
    names = list(dict.fromkeys([label, *plan.numeric, *plan.categorical]))
    days = {day: read_days(table, [day], names) for day in window.days}
    return {day: evenly_spaced(rows, config.max_rows) for day, rows in days.items() if len(rows)}


def errors_where_unusual(
    train: pl.DataFrame, evaluated: pl.DataFrame, predictions: Mapping[str, pl.DataFrame], plan: Plan
) -> list[dict[str, Any]]:
    """Errors of each model by deciles of how unusual the inputs of the eval rows are."""
    some = next(iter(predictions.values()))
    rows = some.select("exposure_id").join(evaluated, on="exposure_id", how="inner", maintain_order="left")
    if len(rows) != len(some):
        raise TableError(f"{len(some) - len(rows)} of {len(some)} predicted rows are not in the table; `dvc repro`")
    medians = {name: frame["median"].to_numpy() for name, frame in predictions.items()}
    return errors_by_decile(unusualness(train, rows, plan), some["label"].to_numpy(), medians)


def predicted_splits(
    directory: Path, names: list[str], label: str, window: Window
) -> dict[str, dict[str, pl.DataFrame]]:
    """Predicted rows by split and model: all of the eval days, a sample of the others."""
    folders = {split: directory if split == "eval" else directory / split for split in splits_of(window)}
    return {split: read_predictions(folder, names, label) for split, folder in folders.items()}


def read_predictions(directory: Path, names: list[str], label: str) -> dict[str, pl.DataFrame]:
    """Predicted rows of each model: date, `label`, statistics, and `residual`, the mean prediction minus the label."""
    residual = (pl.col("mean") - pl.col("label")).alias("residual")
    return {
        name: read_parquet(directory / f"{name}.parquet").rename({label: "label"}).with_columns(residual)
        for name in names
    }


def residuals_by_day(frame: pl.DataFrame, split: str) -> list[dict[str, Any]]:
    """Per day: split, rows predicted, mean absolute error of the median, bias of the mean, both in seconds."""
    by_day = frame.group_by("date", maintain_order=True).agg(
        pl.len().alias("rows"),
        (pl.col("median") - pl.col("label")).abs().mean().alias("mae_s"),
        pl.col("residual").mean().alias("bias_s"),
    )
    named = by_day.sort("date").with_columns(pl.col("date").cast(pl.String), split=pl.lit(split))
    return named.to_dicts()


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
    """Per model: MAE, RMSE, XAUC, the arm it was in, and its lift over the control with the interval.

    Lifts are those of the sweep, which a replay does not have.
    """
    arm_of = {values["model"]: arm for arm, values in online["arms"].items()}
    lifts = {model["model"]: model for model in online.get("sweep", {}).get("models", [])}
    quality: dict[str, dict[str, Any]] = {}
    for name, metrics in offline["models"].items():
        quality[name] = {
            **{key: metrics.get(key) for key in OFFLINE_METRICS},
            "arm": arm_of.get(name),
            **{key: lifts.get(name, {}).get(key) for key in ("lift", "low", "high")},
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
        "residuals": [{"model": model, **day} for model, days in findings.residuals.items() for day in days],
        "windows": [
            {"reference": each.reference, "current": each.current, "of": each.of, **asdict(each.drift)}
            for each in findings.windows
        ],
        "columns_by_day": findings.columns_by_day,
        "predictions_by_day": findings.predictions_by_day,
        "errors_by_decile": findings.errors_by_decile,
        "offline_online": [{"model": model, **values} for model, values in findings.quality.items()],
    }


if __name__ == "__main__":
    run_stage(main)
