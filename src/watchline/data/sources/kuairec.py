"""KuaiRec 2.0 (Gao et al., CIKM 2022) in the published folder layout, unpacked or as KuaiRec.zip.

    X/data/big_matrix.csv   small_matrix.csv   user_features.csv   item_categories.csv   item_daily_features.csv

Durations are milliseconds, timestamps are seconds, `date` is the day in China (UTC+8). Where a row gives no date, its
timestamp does. Of an item's daily rows the earliest counts, and only what does not change from day to day is read: the
counts of plays, likes and so on look into the future of the log. Captions and the social network are not read.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field as Setting

from watchline.config import Config
from watchline.data.schema import EXPOSURES, TIMESTAMP, USERS, VIDEOS
from watchline.data.sources import known, parsing
from watchline.data.sources.archives import dataset_folder
from watchline.data.sources.base import SourceError, SourceTables, by_day
from watchline.data.sources.delimited import Delimited, Field, read_delimited
from watchline.data.sources.fields import KUAISHOU_USER_FIELDS, seconds, text, whole
from watchline.data.sources.selection import Selection, as_note, select_rows

UTC_OFFSET_HOURS = 8
NULL_CODES = ("-124", "UNKNOWN")  # both mean `not known`
MATRICES = {"big": ("big",), "small": ("small",), "both": ("big", "small")}


class KuaiRecConfig(Config):
    """Where KuaiRec lies and which of its rows to read."""

    source: Literal["kuairec"]
    path: str = Setting(description="dataset folder, its data/ folder, or the zip")
    matrix: Literal["big", "small", "both"] = Setting(
        default="big", description="which matrix; rows of the small one, where nearly every pair is, are is_random"
    )
    undated_day: date | None = Setting(
        default=None, description="local day at whose end rows without a timestamp stand; null: they are unparsable"
    )
    keep: Selection = Setting(default=Selection(), description="bounds of a published protocol")


def matrix_fields(timed: bool) -> list[Field]:
    """Columns of a matrix; `timed`: a row without a timestamp is unparsable."""
    return [
        whole("user_id", required=True),
        whole("video_id", required=True),
        seconds("play_duration", "watch_time_s", required=True),
        seconds("video_duration", "duration_s", required=True),
        Field("timestamp", "exposed_at", parsing.utc_from_seconds, "a time in seconds", required=timed),
        Field("date", "date", parsing.compact_date, "a date YYYYMMDD"),
    ]


ITEM_FIELDS = [
    whole("video_id", required=True),
    Field("date", "date", parsing.compact_date, "a date YYYYMMDD", required=True),
    whole("author_id"),
    text("video_type"),
    Field("upload_dt", "uploaded_on", parsing.iso_date, "a date YYYY-MM-DD"),
    text("upload_type"),
    Field("visible_status", "is_visible", parsing.is_public, "text"),
    seconds("video_duration", "duration_s"),
    whole("video_width", "width"),
    whole("video_height", "height"),
    whole("music_id"),
]
CATEGORY_FIELDS = [
    whole("video_id", required=True),
    Field("feat", "tags", parsing.whole_list, "a list of whole numbers in brackets"),
]
_FILES = ("big_matrix.csv", "small_matrix.csv", "user_features.csv", "item_categories.csv", "item_daily_features.csv")
_WHAT = "KuaiRec's folder (the one that holds data/) or KuaiRec.zip"


def read(path: Path, config: KuaiRecConfig) -> SourceTables:
    """Read the folder or zip at `path`. Raises SourceError naming file, column and counts."""
    with dataset_folder(path, _FILES.__contains__, _WHAT) as (directory, notes):
        return _read_folder(_find_folder(directory), config, notes)


def dated(rows: pl.DataFrame, undated_day: date | None) -> pl.DataFrame:
    """Rows of a matrix with a time and a local day each; those without a time stand at the end of `undated_day`.

    There they are later than every dated row, so that their features know the past alone and no other row's know them.
    """
    if undated_day is not None:
        end = datetime.combine(undated_day, time(23, 59, 59)) - timedelta(hours=UTC_OFFSET_HOURS)
        at_end = pl.lit(end).cast(pl.Datetime("us")).dt.replace_time_zone("UTC").cast(TIMESTAMP)
        rows = rows.with_columns(
            exposed_at=pl.col("exposed_at").fill_null(at_end),
            date=pl.when(pl.col("exposed_at").is_null()).then(pl.lit(undated_day)).otherwise(pl.col("date")),
        )
    local_day = (pl.col("exposed_at") + timedelta(hours=UTC_OFFSET_HOURS)).dt.date()
    return rows.with_columns(date=pl.col("date").fill_null(local_day))


def items_of(daily: pl.DataFrame, categories: pl.DataFrame) -> pl.DataFrame:
    """One row per video of either table: its earliest daily row, and its topics. A repeated id stays, to be judged."""
    first = daily.sort("video_id", "date", maintain_order=True).unique("video_id", keep="first", maintain_order=True)
    tags = categories.with_columns(pl.col("tags").replace("", None))
    return first.drop("date").join(tags, on="video_id", how="full", coalesce=True, maintain_order="right_left")


def _read_folder(folder: Path, config: KuaiRecConfig, notes: tuple[str, ...]) -> SourceTables:
    matrices = {name: _read_matrix(folder, name, config) for name in MATRICES[config.matrix]}
    users = read_delimited(
        folder / "user_features.csv", KUAISHOU_USER_FIELDS, kind=known.KUAIREC_USERS, null_codes=NULL_CODES
    )
    daily = read_delimited(
        folder / "item_daily_features.csv", ITEM_FIELDS, kind=known.KUAIREC_ITEMS, null_codes=NULL_CODES
    )
    categories = read_delimited(folder / "item_categories.csv", CATEGORY_FIELDS, kind=known.KUAIREC_CATEGORIES)
    videos = items_of(daily.frame, categories.frame)
    rows = pl.concat(
        dated(matrix.frame, config.undated_day).with_columns(is_random=pl.lit(name == "small"))
        for name, matrix in matrices.items()
    )
    exposures, left_out = select_rows(rows, videos, config.keep)
    if exposures.is_empty():
        raise SourceError(f"{folder}: ingest.keep leaves none of {len(rows):,} exposures; widen its bounds")
    days, exposures_of = by_day(exposures)
    tables = {"exposures": (exposures, EXPOSURES), "users": (users.frame, USERS), "videos": (videos, VIDEOS)}
    return SourceTables(
        days=days,
        exposures_of=exposures_of,
        users=users.frame,
        videos=videos,
        unparsable=pl.concat(part.unparsable for part in (*matrices.values(), users, daily, categories)),
        utc_offset_hours=UTC_OFFSET_HOURS,
        columns_filled={name: tuple(c for c in schema if c in t.columns) for name, (t, schema) in tables.items()},
        notes=(*notes, *as_note(left_out, len(rows)), *_undated_note(matrices, config)),
    )


def _read_matrix(folder: Path, name: str, config: KuaiRecConfig) -> Delimited:
    fields = matrix_fields(timed=config.undated_day is None)
    return read_delimited(folder / f"{name}_matrix.csv", fields, kind=known.KUAIREC_MATRIX)


def _undated_note(matrices: dict[str, Delimited], config: KuaiRecConfig) -> tuple[str, ...]:
    undated = sum(matrix.frame["exposed_at"].null_count() for matrix in matrices.values())
    return (f"{undated:,} exposures without a time stand at the end of {config.undated_day}",) if undated else ()


def _find_folder(path: Path) -> Path:
    for folder in (path, path / "data", *sorted(path.glob("*/data")), *sorted(p for p in path.iterdir() if p.is_dir())):
        if any((folder / f"{name}_matrix.csv").is_file() for name in MATRICES["both"]):
            return folder
    raise SourceError(
        f"{path}: no big_matrix.csv or small_matrix.csv in it or in its data/ folder; set ingest.path to {_WHAT}"
    )
