"""Reading and writing the day-partitioned Parquet tables: `NAME/date=YYYY-MM-DD/part-0.parquet`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from watchline.data.splits import Window

CHUNK_ROWS = 1 << 16  # read at a time where a table may not fit into memory


class TableError(ValueError):
    """A table on disk that is missing, truncated or lacks a day; the message names the file and what to do."""


def day_path(directory: Path, day: date) -> Path:
    """File of one local day."""
    return directory / f"date={day.isoformat()}" / "part-0.parquet"


def days_on_disk(directory: Path) -> list[date]:
    """Local days that have a file, in order."""
    return sorted(
        date.fromisoformat(path.parent.name.removeprefix("date=")) for path in directory.glob("date=*/*.parquet")
    )


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """Write one file whole: readers see the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    frame.write_parquet(temporary, compression="zstd", statistics=True)
    temporary.replace(path)


def write_parquet_parts(parts: Iterable[pl.DataFrame], empty: pl.DataFrame, path: Path) -> None:
    """Write parts of one table (schema of `empty`) as one file, one part in memory at a time, as `write_parquet`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    schema = empty.to_arrow().schema
    with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for part in parts:
            writer.write_table(part.to_arrow().cast(schema))
    temporary.replace(path)


def read_parquet(path: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """Read one file; raises TableError naming it when it is missing or cut short."""
    if not path.is_file():
        raise TableError(f"{path}: no such file; run `dvc repro` (or `dvc checkout`) to get it back")
    try:
        return pl.read_parquet(path, columns=columns, hive_partitioning=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(path, error) from error


def read_days(directory: Path, days: Iterable[date], columns: list[str] | None = None) -> pl.DataFrame:
    """Rows of the given days in day order; raises TableError naming each day that has no file."""
    return pl.concat([read_parquet(path, columns) for path in _day_paths(directory, days)])


def scan_days(directory: Path, days: Iterable[date]) -> pl.LazyFrame:
    """The same rows, read when they are asked for; raises TableError for a missing day or an unreadable file."""
    paths = _day_paths(directory, days)
    for path in paths:
        try:
            pl.read_parquet_schema(path)  # the footer: a file cut short shows here, not in the middle of training
        except (pl.exceptions.PolarsError, OSError) as error:
            raise _unreadable(path, error) from error
    return pl.scan_parquet(paths, hive_partitioning=False)


def scan_split(directory: Path, window: Window, split: str) -> pl.LazyFrame:
    """Rows of one split, in day order: of its days, or by `window.rows` (there finetune is train once more)."""
    if window.rows is None:
        return scan_days(directory, window.split_days(split))
    split = "train" if split == "finetune" else split
    table = with_split(scan_days(directory, window.days), window)
    rows = table.filter(pl.col("split") == split).drop("split")
    if window.rows.known_ids and split != "train":
        train = table.filter(pl.col("split") == "train").select("user_id", "video_id").collect()
        known = [pl.col(name).is_in(train[name].unique().implode()) for name in train.columns]
        rows = rows.filter(*known)
    return rows


def read_split(directory: Path, window: Window, split: str, columns: list[str] | None = None) -> pl.DataFrame:
    """The same rows in memory; raises TableError for a day without a file."""
    rows = scan_split(directory, window, split)
    return (rows if columns is None else rows.select(columns)).collect()


def with_split(table: pl.LazyFrame, window: Window) -> pl.LazyFrame:
    """Exposures with the column `split` by `window.rows`; null outside the window's days."""
    return table.with_columns(_split_of_row(table, window).alias("split"))


def history(exposures: pl.LazyFrame, window: Window) -> pl.Expr | None:
    """Which exposures statistics may be of: None for all, or with `window.rows` the training rows and what precedes.

    By day, what a split's row knows is over before it; a published split mixes times, so only training rows may speak.
    """
    if window.rows is None:
        return None
    split = _split_of_row(exposures, window)
    return (split == "train") | (split.is_null() & (pl.col("date") < window.start))


def _split_of_row(exposures: pl.LazyFrame, window: Window) -> pl.Expr:
    assert window.rows is not None
    inside, cuts = pl.col("date").is_between(window.start, window.end), None
    if window.rows.kind == "chronological":
        cuts = window.rows.cuts(exposures.filter(inside).select("exposed_at").collect().to_series())
    return pl.when(inside).then(window.rows.of_row(cuts))


def num_rows(table: pl.LazyFrame) -> int:
    """Rows of a table, from its files' footers where it has files."""
    return int(table.select(pl.len()).collect().item())


def chunks(table: pl.LazyFrame, rows_at_a_time: int = CHUNK_ROWS) -> Iterator[pl.DataFrame]:
    """The table's rows in order, a bounded number at a time."""
    for start in range(0, num_rows(table), rows_at_a_time):
        yield table.slice(start, rows_at_a_time).collect()


def _day_paths(directory: Path, days: Iterable[date]) -> list[Path]:
    days = list(days)
    missing = [day.isoformat() for day in days if not day_path(directory, day).is_file()]
    if missing:
        raise TableError(
            f"{directory}: no file for {', '.join(missing)}; check window.* against the days the source has"
        )
    return [day_path(directory, day) for day in days]


def _unreadable(path: Path, error: Exception) -> TableError:
    return TableError(f"{path}: not a readable Parquet file ({error}); `dvc checkout` restores the last good one")
