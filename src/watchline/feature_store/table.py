"""The feature table: which column is what, and the counts of each of its days for the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Self

import polars as pl
import polars.selectors as cs

from watchline.data.columns import Columns
from watchline.data.splits import Window
from watchline.feature_store.groups import GROUPS

WATCH_TIME = "watch_time_s"
KEYS = ("exposure_id", "user_id", "video_id", "exposed_at", "date", "is_random")
# Ids and codes that models embed, besides every text column; the rest are numbers.
CODES = (
    "user_id",
    "video_id",
    "surface",
    "author_id",
    "topic",
    "hour",
    "weekday",
    "is_lowactive",
    "is_live_streamer",
    "is_video_author",
    "music_id",
    "music_type",
)


def labelled(exposures: pl.DataFrame, label: str) -> pl.DataFrame:
    """What the table takes from the exposures themselves: keys, surface, label and watch time.

    Raises ValueError for a label that is no column of amounts of 0 and more.
    """
    if label not in exposures.columns:
        raise ValueError(
            f"features.label: the exposures have no column {label!r}; they have {', '.join(exposures.columns)}"
        )
    if label in (*KEYS, "surface"):
        raise ValueError(f"features.label: {label} is a key or a feature of the table; a label is an amount")
    column = exposures[label]
    if not column.dtype.is_numeric():
        raise ValueError(f"features.label: {label} is {column.dtype}; a label is an amount")
    amounts = column.cast(pl.Float64).fill_null(float("nan"))
    bad = int((~(amounts.is_finite() & (amounts >= 0))).sum())
    if bad:
        raise ValueError(f"features.label: {label} is no amount of 0 and more in {bad:,} of {len(column):,} exposures")
    return exposures.select(*KEYS, *dict.fromkeys((label, WATCH_TIME)), "surface").with_columns(
        pl.col(label).cast(pl.Float64)
    )


def columns_of(table: pl.DataFrame, label: str) -> Columns:
    """Sort the table's columns into label, keys, categorical and numeric features, in the table's order.

    The watch time is no feature, whatever the label is.
    """
    text = set(table.select(cs.string()).columns)
    codes = [name for name in table.columns if name in CODES or name in text or name.startswith("segment_")]
    known = {label, WATCH_TIME, *KEYS, *codes}
    return Columns(label, KEYS, tuple(codes), tuple(name for name in table.columns if name not in known))


@dataclass(frozen=True)
class DayCounts:
    """What the report says of one day's rows; every count is of exposures."""

    day: date
    rows: int
    nulls: dict[str, int]  # feature -> rows without a value
    history: dict[str, int]  # group of statistics -> rows whose entity has a row of statistics

    @classmethod
    def of(cls, day: date, table: pl.DataFrame, columns: Columns) -> Self:
        """Count the day's rows of the feature table."""
        nulls = {name: table[name].null_count() for name in (*columns.categorical, *columns.numeric)}
        counted = {}
        for group in GROUPS:
            column = next(name for name in table.columns if name.startswith(f"{group.prefix}_exposures_"))
            counted[group.name] = len(table) - nulls[column]
        return cls(day, len(table), nulls, counted)

    def write(self, path: Path) -> None:
        """Write JSON that `read` reads."""
        path.write_text(json.dumps({"rows": self.rows, "nulls": self.nulls, "history": self.history}))

    @classmethod
    def read(cls, day: date, path: Path) -> Self:
        """Read what `write` wrote."""
        values = json.loads(path.read_text())
        return cls(day, values["rows"], values["nulls"], values["history"])


def write_schema(columns: Columns, utc_offset_hours: float, path: Path) -> None:
    """Write schema.json."""
    schema = {
        "label": columns.label,
        "keys": columns.keys,
        "categorical": columns.categorical,
        "numeric": columns.numeric,
        "utc_offset_hours": utc_offset_hours,
    }
    path.write_text(json.dumps(schema, indent=2) + "\n")


def null_shares(counts: Sequence[DayCounts], window: Window) -> pl.DataFrame:
    """A row per feature: its name, its null share over all days, and one column per split of days.

    Counts are by day: where `window.rows` cuts the rows of every day there is no more to say than the share of all.
    """
    of_column = {"all": list(counts)}
    for split, (first, last) in window.ranges.items() if window.rows is None else ():
        of_column[split] = [count for count in counts if first <= count.day <= last]
    features = list(counts[0].nulls)
    shares = pl.DataFrame({"feature": features})
    for name, days in of_column.items():
        num_rows = max(sum(day.rows for day in days), 1)
        nulls = [sum(day.nulls[feature] for day in days) / num_rows for feature in features]
        shares = shares.with_columns(pl.Series(name, nulls, dtype=pl.Float64))
    return shares


def coverage_by_day(counts: Sequence[DayCounts]) -> pl.DataFrame:
    """A row per day: rows, and for each group of statistics the share of exposures with history (0 to 1)."""
    rows = {"date": [count.day for count in counts], "rows": [count.rows for count in counts]}
    shares = {group.name: [count.history[group.name] / max(count.rows, 1) for count in counts] for group in GROUPS}
    return pl.DataFrame({**rows, **shares})
