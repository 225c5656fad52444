"""Drift between every two windows of days, and of every day from the training days, by Evidently as in compare.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from watchline.data.spacing import evenly_spaced
from watchline.drift.compare import ColumnDrift, DriftConfig, Plan, compare_columns, compare_numbers

# What is compared with what: reference and current.
PAIRS = (("train", "finetune"), ("train", "eval"), ("finetune", "eval"))
POINTS = ("median", "mean", "residual")


@dataclass(frozen=True)
class WindowDrift:
    """Drift of one thing from the days of `reference` to those of `current`.

    `of`: features, target, or the model whose statistic or residual it is.
    """

    reference: str
    current: str
    of: str
    drift: ColumnDrift


def drift_of_columns(
    samples: Mapping[str, pl.DataFrame],
    plan: Plan,
    label: str,
    config: DriftConfig,
    compared: Mapping[tuple[str, str], Sequence[ColumnDrift]],
) -> list[WindowDrift]:
    """Features and target between each two windows of `samples` (split -> rows); windows that are not there are left
    out. `compared` holds what is known already, by reference and current: a comparison takes seconds."""
    found = []
    for reference, current in PAIRS:
        if {reference, current} <= samples.keys():
            drifts = compared.get((reference, current))
            if drifts is None:
                known = _with_values(plan, samples[reference], samples[current])
                drifts = compare_columns(samples[reference], samples[current], known, label, config)
            for drift in drifts:
                of = "target" if drift.name == label else "features"
                found.append(WindowDrift(reference, current, of, drift))
    return found


def drift_of_predictions(frames: Mapping[str, Mapping[str, pl.DataFrame]], config: DriftConfig) -> list[WindowDrift]:
    """Statistics and residuals of each model between each two windows; frames: split -> model -> predicted rows."""
    found = []
    for reference, current in PAIRS:
        if not {reference, current} <= frames.keys():
            continue
        for model in frames[reference]:
            sides = (
                evenly_spaced(frames[split][model].select(POINTS), config.max_rows) for split in (reference, current)
            )
            drifts = compare_numbers(*sides, config.prediction)
            found += [WindowDrift(reference, current, model, drift) for drift in drifts.values()]
    return found


def columns_by_day(
    train: pl.DataFrame, days: Mapping[date, pl.DataFrame], plan: Plan, label: str, config: DriftConfig
) -> list[dict[str, Any]]:
    """Distance of each planned column and of the label, on each day, to the training rows: date, column, value, ..."""
    found = []
    for day, rows in days.items():
        drifts = compare_columns(train, rows, _with_values(plan, train, rows), label, config)
        found += [{"date": day.isoformat(), **_point(drift.name, drift)} for drift in drifts]
    return found


def predictions_by_day(frames: Mapping[str, Mapping[str, pl.DataFrame]], config: DriftConfig) -> list[dict[str, Any]]:
    """Distance of each model's mean and residual, on each day that was predicted, to those of the training rows.

    All models were asked for the same rows, so that a day is one comparison.
    """
    models = list(frames["train"])
    sides = {
        split: pl.concat(
            [_side(of_model[name], name, not number) for number, name in enumerate(models)], how="horizontal"
        )
        for split, of_model in frames.items()
    }
    train = evenly_spaced(sides["train"], config.max_rows).drop("date")
    found = []
    for frame in sides.values():
        for (day,), rows in frame.group_by("date", maintain_order=True):
            sample = evenly_spaced(rows.drop("date"), config.max_rows)
            for name, drift in compare_numbers(train, sample, config.prediction).items():
                model, _, value = name.rpartition(" ")
                found.append({"date": str(day), "model": model, **_point(value, drift)})
    return sorted(found, key=lambda row: row["date"])


def _side(frame: pl.DataFrame, model: str, with_date: bool) -> pl.DataFrame:
    values = [pl.col(point).alias(f"{model} {point}") for point in ("mean", "residual")]
    return frame.select(*["date"] * with_date, *values)


def _with_values(plan: Plan, *sides: pl.DataFrame) -> Plan:
    """The plan without numeric columns that have no value on a side."""
    numeric = [name for name in plan.numeric if all(side[name].null_count() < len(side) for side in sides)]
    return Plan(numeric, plan.categorical, [], {})


def _point(name: str, drift: ColumnDrift) -> dict[str, Any]:
    return {"column": name, "method": drift.method, "value": drift.value, "threshold": drift.threshold}
