"""Writes what a source gives into the layout that every later stage reads.

exposures/date=YYYY-MM-DD/part-0.parquet   users.parquet   videos.parquet   unparsable.parquet   source.json
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import polars as pl

from watchline.data.day_cache import DayCache, fetch, in_order
from watchline.data.schema import EXPOSURES, SORT_KEY, USERS, VIDEOS
from watchline.data.sources.base import UNPARSABLE, SourceTables, conform
from watchline.data.sources.counting import DaySummary
from watchline.data.tables import day_path, write_parquet

PART = "part-0.parquet"


def write_source(
    tables: SourceTables,
    name: str,
    directory: Path,
    days: Sequence[date] | None = None,
    observe: Callable[[date, DaySummary], None] | None = None,
    cache: DayCache | None = None,
) -> int:
    """Write the given days (None: all) and the other tables, each sorted; returns the exposures written.

    `observe` gets the summary of each day. A day whose key the source knows is fetched from `cache` once it is there.
    """
    rows = 0
    wanted = None if days is None else set(days)
    written = [day for day in tables.days if wanted is None or day in wanted]

    def write(day: date) -> tuple[date, DaySummary]:
        return day, _write_day(tables, day, day_path(directory / "exposures", day), cache)

    # What a source gives by key lies on disk and may be read by two threads; another source need not allow that.
    days_written = (
        map(write, written) if not all(day in tables.known_days for day in written) else in_order(write, written)
    )
    for day, summary in days_written:
        rows += summary.rows
        if observe is not None:
            observe(day, summary)
    write_parquet(conform(tables.users, USERS).sort(list(USERS)), directory / "users.parquet")
    write_parquet(conform(tables.videos, VIDEOS).sort(list(VIDEOS)), directory / "videos.parquet")
    write_parquet(conform(tables.unparsable, UNPARSABLE).sort("file", "line"), directory / "unparsable.parquet")
    facts = {
        "source": name,
        "utc_offset_hours": tables.utc_offset_hours,
        "columns_filled": {table: list(columns) for table, columns in tables.columns_filled.items()},
        "days": [day.isoformat() for day in written],
        "rows": rows,
    }
    (directory / "source.json").write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")
    tables.write_extras(directory)
    return rows


def _write_day(tables: SourceTables, day: date, path: Path, cache: DayCache | None) -> DaySummary:
    def sorted_rows() -> pl.DataFrame:
        return conform(tables.exposures_of(day), EXPOSURES).sort(SORT_KEY)

    if cache is None or day not in tables.known_days:
        frame = sorted_rows()
        write_parquet(frame, path)
        return DaySummary.of(frame)

    def make(folder: Path) -> None:
        frame = sorted_rows()
        write_parquet(frame, folder / PART)
        DaySummary.of(frame).save(folder)

    entry = cache.entry({"day": day.isoformat(), "rows": tables.known_days[day].key}, make)
    fetch(entry, PART, path)
    return DaySummary.load(entry)
