"""Writes what a source gives into the layout that every later stage reads.

exposures/date=YYYY-MM-DD/part-0.parquet   users.parquet   videos.parquet   unparsable.parquet   source.json
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import polars as pl

from watchline.data.schema import EXPOSURES, SORT_KEY, USERS, VIDEOS
from watchline.data.sources.base import UNPARSABLE, SourceTables, conform
from watchline.data.tables import day_path, write_parquet


def write_source(
    tables: SourceTables,
    name: str,
    directory: Path,
    days: Sequence[date] | None = None,
    observe: Callable[[date, pl.DataFrame], None] | None = None,
) -> int:
    """Write the given days (None: all) and the other tables, each sorted; returns the exposures written.

    `observe` sees each day's rows as they were written, one day in memory at a time.
    """
    rows = 0
    written = [day for day in tables.days if days is None or day in set(days)]
    for day in written:
        frame = conform(tables.exposures_of(day), EXPOSURES).sort(SORT_KEY)
        write_parquet(frame, day_path(directory / "exposures", day))
        rows += len(frame)
        if observe is not None:
            observe(day, frame)
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
