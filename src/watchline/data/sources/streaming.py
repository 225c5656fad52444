"""Reads files a chunk at a time into finished pieces, one per chunk and local day, which later runs fetch.

Memory holds three chunks or three days, whatever the files' size. A chunk's pieces depend on its lines alone and a
day on its rows, so a log that grew costs its last chunk and the new day, and a changed row costs its chunk and its day.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from hashlib import blake2b
from pathlib import Path

import polars as pl

from watchline.data.day_cache import DayCache, digest_of, in_order
from watchline.data.row_hashes import sum_hashes
from watchline.data.sources.base import DayFacts
from watchline.data.sources.delimited import Delimited, Layout, Lines, Tally, count_lines

_WHOLE = "whole"  # the piece of a chunk that is not cut by day
_DAY_US = 24 * 3_600_000_000
_LATE_US = 6 * 3_600_000_000  # a log may be so far past the end of a day before that day's rows in it count as late


@dataclass(frozen=True)
class Piece:
    """Rows of one local day in one chunk; `late` of them are late by what stands before them in that chunk."""

    path: Path
    row_hashes: int  # sum modulo 2^64
    rows: int
    late: int


@dataclass
class StreamedLog:
    """Exposures of one or more logs, in pieces on disk; a day is read when it is asked for."""

    unparsable: pl.DataFrame
    columns: tuple[str, ...]  # canonical
    ignored: tuple[str, ...]  # columns of the files not asked for
    pieces: dict[date, list[Piece]] = field(default_factory=dict)
    late: dict[date, int] = field(default_factory=dict)
    cache: DayCache | None = None  # where the pieces lie; a temporary one lives as long as what refers to it

    @property
    def days(self) -> tuple[date, ...]:
        """Local days that have rows, in order."""
        return tuple(sorted(self.pieces))

    def rows_of(self, day: date) -> pl.DataFrame:
        """The rows of one day, in the order of the files."""
        return pl.concat([pl.read_ipc(piece.path) for piece in self.pieces[day]])

    def facts(self) -> dict[date, DayFacts]:
        """What is known of each day without reading its rows."""
        return {
            day: DayFacts(_day_key(pieces), sum(piece.rows for piece in pieces), self.late[day])
            for day, pieces in self.pieces.items()
        }


def _day_key(pieces: list[Piece]) -> str:
    # A sum over rows is the same however they are cut into pieces and ordered, as the day's sorted file is.
    return digest_of([sum(piece.row_hashes for piece in pieces) % 2**64, sum(piece.rows for piece in pieces)])


class Streamer:
    """Reads files through `cache`; without one, through a temporary one."""

    def __init__(self, cache: DayCache | None = None) -> None:
        self.cache = DayCache.temporary() if cache is None else cache

    def log(self, files: Iterable[Path], layout: Layout, utc_offset_hours: int) -> StreamedLog:
        """All files as one log, cut by the canonical column `date`; raises SourceError as `read_delimited` does.

        A row counts as late when a row before it in its file was shown hours after the end of its local day.
        """
        pieces: dict[date, list[Piece]] = {}
        late: dict[date, int] = {}
        unparsable, ignored = [], list[str]()
        for path in files:
            lines = Lines(path, layout)
            tally, clock_us = Tally(lines), 0
            for chunk in self._chunks(lines, utc_offset_hours):
                tally.add(chunk.unparsable, chunk.num_lines, chunk.num_rows)
                for name, piece in chunk.pieces.items():
                    day = date.fromisoformat(name)
                    pieces.setdefault(day, []).append(piece)
                    all_late = clock_us >= _late_from_us(day, utc_offset_hours)
                    late[day] = late.get(day, 0) + (piece.rows if all_late else piece.late)
                clock_us = max(clock_us, chunk.clock_us)
            unparsable.append(tally.unparsable())
            ignored += lines.ignored
        columns = tuple(column.target for column in layout.fields)
        return StreamedLog(pl.concat(unparsable), columns, tuple(dict.fromkeys(ignored)), pieces, late, self.cache)

    def table(self, files: Iterable[Path], layout: Layout) -> Delimited:
        """All files as one table in memory; raises SourceError as `read_delimited` does."""
        frames, unparsable, ignored = list[pl.DataFrame](), [], list[str]()
        for path in files:
            lines = Lines(path, layout)
            tally = Tally(lines)
            for chunk in self._chunks(lines, None):
                tally.add(chunk.unparsable, chunk.num_lines, chunk.num_rows)
                frames += [pl.read_ipc(piece.path) for piece in chunk.pieces.values()]
            unparsable.append(tally.unparsable())
            ignored += lines.ignored
        return Delimited(pl.concat(frames), pl.concat(unparsable), tuple(dict.fromkeys(ignored)))

    def _chunks(self, lines: Lines, utc_offset_hours: int | None) -> Iterator[_Chunk]:
        settings = [lines.header, lines.layout.key(), utc_offset_hours]

        def finish(chunk: bytes) -> _Chunk:
            inputs = {"chunk": blake2b(chunk, digest_size=16).hexdigest(), "layout": settings}
            make = partial(_write_chunk, lines, chunk, utc_offset_hours)
            return _read_chunk(self.cache.entry(inputs, make))

        yield from in_order(finish, lines.chunks())


@dataclass(frozen=True)
class _Chunk:
    """A chunk on disk. Its pieces are by local day, YYYY-MM-DD, or one."""

    unparsable: pl.DataFrame  # line (0 is the chunk's first), text, reason
    num_lines: int
    clock_us: int  # latest time of a row in it, microseconds since 1970
    pieces: dict[str, Piece]

    @property
    def num_rows(self) -> int:
        return sum(piece.rows for piece in self.pieces.values())


def _write_chunk(lines: Lines, chunk: bytes, utc_offset_hours: int | None, folder: Path) -> None:
    """Read a chunk into `folder`; it is cut by local day unless there is no offset of the local day."""
    parsed = lines.parse(chunk)
    parsed.unparsable.write_ipc(folder / "unparsable.arrow")
    clock_us, late = (0, {}) if utc_offset_hours is None else _find_late(parsed.frame, utc_offset_hours)
    pieces = {}
    for name, frame in _cut(parsed.frame, by_day=utc_offset_hours is not None):
        path = folder / f"{name}.arrow"
        frame.rechunk().write_ipc(path, compression="lz4")
        pieces[name] = {"row_hashes": sum_hashes(frame), "rows": len(frame), "late": late.get(name, 0)}
    values = {"num_lines": count_lines(chunk), "clock_us": clock_us, "pieces": pieces}
    (folder / "chunk.json").write_text(json.dumps(values))


def _cut(frame: pl.DataFrame, by_day: bool) -> list[tuple[str, pl.DataFrame]]:
    if not by_day:
        return [(_WHOLE, frame)]
    days = frame.partition_by("date", as_dict=True, maintain_order=True)
    return [(day.isoformat(), days[day,]) for (day,) in sorted(days)]


def _late_from_us(day: date, utc_offset_hours: int) -> int:
    """From when on a log that got so far has the rows of `day` late."""
    return (day - date(1970, 1, 1)).days * _DAY_US - utc_offset_hours * 3_600_000_000 + _DAY_US + _LATE_US


def _find_late(frame: pl.DataFrame, utc_offset_hours: int) -> tuple[int, dict[str, int]]:
    """How far the chunk's clock gets, and the late rows by day. A time far off its own day does not set the clock."""
    late_from = pl.col("date").cast(pl.Int64) * _DAY_US + _late_from_us(date(1970, 1, 1), utc_offset_hours)
    shown = pl.col("exposed_at").cast(pl.Int64)
    credible = shown.is_between(late_from - 3 * _DAY_US, late_from + _DAY_US)
    clock = pl.when(credible).then(shown).cum_max().forward_fill().fill_null(0)
    found = frame.select("date", clock=clock, late=clock >= late_from)
    counts = found.group_by("date").agg(pl.col("late").sum())
    return int(found["clock"].max() or 0), {day.isoformat(): count for day, count in counts.iter_rows()}  # type: ignore[call-overload]


def _read_chunk(folder: Path) -> _Chunk:
    values = json.loads((folder / "chunk.json").read_text())
    pieces = {name: Piece(path=folder / f"{name}.arrow", **facts) for name, facts in values["pieces"].items()}
    return _Chunk(pl.read_ipc(folder / "unparsable.arrow"), values["num_lines"], values["clock_us"], pieces)
