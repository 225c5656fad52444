"""The contract of a source: a module with a config and a `read` that fills the canonical tables.

A source module has
    a Config subclass with `source: Literal["NAME"]` and `path: str`, listed in `INGEST_SOURCES` of stages/ingest.py
    read(path: Path, config) -> SourceTables
`read` may take a third argument `cache` (a DayCache): what it reads through a `Streamer` of it (sources/streaming.py)
is read in bounded memory and once only. `read` keeps every row it can parse, defects included (validate judges them),
and returns what it cannot parse as lines with a reason. Ids, codes, units and local days are those of the canonical
tables (data/schema.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import polars as pl

UNPARSABLE: dict[str, type[pl.DataType]] = {
    "file": pl.String,
    "line": pl.Int64,  # the header is line 1
    "text": pl.String,
    "reason": pl.String,
}
MAX_UNPARSABLE = 1_000_000  # kept in memory; a file with more is another file than it should be


class SourceError(ValueError):
    """A file of a source that is missing, of another kind or damaged; names it and says what to do."""


def _nothing(directory: Path) -> None:
    return None


@dataclass(frozen=True)
class DayFacts:
    """What a source knows of a day without reading its rows."""

    key: str  # equal keys, equal rows: ingest does the day once
    rows: int
    late_rows: int  # rows that stand in their log behind one shown hours after the end of their day


@dataclass(frozen=True)
class SourceTables:
    """What a source gives. Tables have the canonical columns and types; a column it cannot fill is null."""

    days: tuple[date, ...]  # local days that have exposures, in order
    exposures_of: Callable[[date], pl.DataFrame]  # the rows of one day; a day at a time bounds the memory
    users: pl.DataFrame
    videos: pl.DataFrame
    unparsable: pl.DataFrame  # columns UNPARSABLE
    utc_offset_hours: int  # of the local day
    columns_filled: Mapping[str, tuple[str, ...]]  # table -> canonical columns the source has
    notes: tuple[str, ...] = ()  # what a reader of the log should know, one line each
    known_days: Mapping[date, DayFacts] = field(default_factory=dict)  # of the days that have a key
    write_extras: Callable[[Path], None] = _nothing  # writes more into the folder of the tables, such as a law


class Read(Protocol):
    """The `read` of a source module; one that also takes `cache` gets it."""

    def __call__(self, path: Path, config: Any, /) -> SourceTables:
        """Tables of what lies at `path`; raises SourceError naming file, column and row count."""
        ...


def empty_unparsable() -> pl.DataFrame:
    """No unparsable lines."""
    return pl.DataFrame(schema=UNPARSABLE)


def conform(frame: pl.DataFrame, schema: Mapping[str, pl.DataType | type[pl.DataType]]) -> pl.DataFrame:
    """The columns of `schema` in order and type; those that `frame` lacks are null."""
    return frame.select(
        pl.col(name).cast(kind) if name in frame.columns else pl.lit(None, dtype=kind).alias(name)
        for name, kind in schema.items()
    )


def by_day(exposures: pl.DataFrame) -> tuple[tuple[date, ...], Callable[[date], pl.DataFrame]]:
    """`days` and `exposures_of` of a table in memory."""
    frames = {key[0]: frame for key, frame in exposures.partition_by("date", as_dict=True, maintain_order=True).items()}
    return tuple(sorted(frames)), frames.__getitem__
