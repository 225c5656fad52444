"""Each day of the window against the days around it: volume, mean and distribution of watch time."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from watchline.data.screening import Screening
from watchline.data.splits import Window


def days_of_window(screening: Screening, window: Window, reference_days: int) -> pl.DataFrame:
    """A row per day of the window: date, rows (clean), present, volume_ratio, watch_ratio, watch_distance, days_behind.

    A day's reference are the `reference_days` days with rows before it, days before the window included; where there
    are fewer, the nearest days after it fill up. Ratios are to the median day of the reference; the distance is the
    largest difference between the cumulative shares of watch time (Kolmogorov-Smirnov, over the bins of the
    screening), 0 to 1. All three are null for a day without rows, and where no other day has any. days_behind
    (everywhere the same) is newest row to window.end.
    """
    present = screening.days.filter(pl.col("clean") > 0)
    facts = {row["date"]: row for row in present.iter_rows(named=True)}
    watch = {day.day: np.array(day.watch_counts) for day in screening.screened_days}
    newest = max(facts, default=window.start - timedelta(days=1))
    rows = []
    for day in window.days:
        reference = reference_of(day, sorted(facts), reference_days)
        row: dict[str, object] = {
            "date": day.isoformat(),
            "rows": facts[day]["clean"] if day in facts else 0,
            "present": day in facts,
            "volume_ratio": None,
            "watch_ratio": None,
            "watch_distance": None,
            "days_behind": (window.end - newest).days,
        }
        if day in facts and reference:
            row["volume_ratio"] = facts[day]["clean"] / float(np.median([facts[other]["clean"] for other in reference]))
            row["watch_ratio"] = _ratio(facts[day]["mean_watch_s"], [facts[o]["mean_watch_s"] for o in reference])
            row["watch_distance"] = distance(watch[day], np.sum([watch[other] for other in reference], axis=0))
        rows.append(row)
    return pl.DataFrame(rows, schema=SCHEMA)


SCHEMA = {
    "date": pl.String,
    "rows": pl.Int64,
    "present": pl.Boolean,
    "volume_ratio": pl.Float64,
    "watch_ratio": pl.Float64,
    "watch_distance": pl.Float64,
    "days_behind": pl.Int64,
}


def reference_of(day: date, days: list[date], count: int) -> list[date]:
    """The last `count` of `days` before `day`, filled up with the first ones after it; `days` is in order."""
    before = [other for other in days if other < day][-count:]
    return before + [other for other in days if other > day][: count - len(before)]


def distance(counts: np.ndarray, reference: np.ndarray) -> float | None:
    """Largest difference of the cumulative shares of two histograms (B,) over the same bins; None when one is empty."""
    if not counts.sum() or not reference.sum():
        return None
    return float(np.abs(np.cumsum(counts) / counts.sum() - np.cumsum(reference) / reference.sum()).max())


def _ratio(value: float, reference: list[float]) -> float | None:
    median = float(np.median(reference))
    return value / median if median else None
