"""The feature table on disk: which column is what, a file per local day, null shares for the report."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import polars.selectors as cs

from watchline.data.columns import Columns
from watchline.data.splits import Window
from watchline.data.tables import day_path, write_parquet
from watchline.feature_store.snapshots import GROUPS

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


def write_table(table: pl.DataFrame, columns: Columns, utc_offset_hours: float, out: Path) -> None:
    """Write `out`/table, a file per local day with rows in the table's order, and `out`/schema.json."""
    for (day,), rows in table.group_by("date", maintain_order=True):
        write_parquet(rows, day_path(out / "table", day))  # type: ignore[arg-type]
    schema = {
        "label": columns.label,
        "keys": columns.keys,
        "categorical": columns.categorical,
        "numeric": columns.numeric,
        "utc_offset_hours": utc_offset_hours,
    }
    (out / "schema.json").write_text(json.dumps(schema, indent=2) + "\n")


def null_shares(table: pl.DataFrame, columns: Columns, window: Window) -> pl.DataFrame:
    """A row per feature: its name, its null share over the window, and one column per split of the window."""
    features = [*columns.categorical, *columns.numeric]
    by_split = (
        table.with_columns(window.of_day().alias("split"))
        .drop_nulls("split")
        .group_by("split")
        .agg(pl.col(features).null_count(), pl.len().alias("rows"))
    )
    shares = pl.DataFrame({"feature": features})
    for split in window.ranges:
        counts = by_split.filter(pl.col("split") == split)
        num_rows = counts["rows"].sum()
        nulls = [counts[name].sum() / num_rows if num_rows else 0.0 for name in features]
        shares = shares.with_columns(pl.Series(split, nulls, dtype=pl.Float64))
    overall = [table[name].null_count() / max(len(table), 1) for name in features]
    return shares.insert_column(1, pl.Series("all", overall, dtype=pl.Float64))


def coverage_by_day(table: pl.DataFrame) -> pl.DataFrame:
    """A row per day: rows, and for each group of statistics the share of exposures with history (0 to 1)."""
    counts = {}
    for group in GROUPS:
        column = next(name for name in table.columns if name.startswith(f"{group.prefix}_exposures_"))
        counts[group.name] = pl.col(column).is_not_null().mean()
    return table.group_by("date").agg(pl.len().alias("rows"), **counts).sort("date")
