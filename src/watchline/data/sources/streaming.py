"""Reads files a chunk at a time into finished pieces, one per chunk and local day, which later runs fetch.

Memory holds one chunk or one day, whatever the files' size. A chunk's pieces depend on its lines alone and a day on its
pieces, so a log that grew costs its last chunk and the days in it, and a changed row costs its chunk and its day.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from hashlib import blake2b
from pathlib import Path

import polars as pl

from watchline.data.day_cache import DayCache, digest_of
from watchline.data.sources.base import DayFacts
from watchline.data.sources.delimited import Delimited, Layout, Lines, Parsed, Tally, count_lines

_WHOLE = "whole"  # the piece of a chunk that is not cut by day


@dataclass(frozen=True)
class Piece:
    """Rows of one local day in one chunk; `overtaken` of them stand behind a row of a later day in it."""

    path: Path
    digest: str
    rows: int
    overtaken: int


@dataclass
class StreamedLog:
    """Exposures of one or more logs, in pieces on disk; a day is read when it is asked for."""

    unparsable: pl.DataFrame
    columns: tuple[str, ...]  # canonical
    ignored: tuple[str, ...]  # columns of the files not asked for
    pieces: dict[date, list[Piece]] = field(default_factory=dict)
    late: dict[date, int] = field(default_factory=dict)
    scratch: tempfile.TemporaryDirectory[str] | None = None  # lives as long as the log that reads from it

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
            day: DayFacts(digest_of([p.digest for p in pieces]), sum(p.rows for p in pieces), self.late[day])
            for day, pieces in self.pieces.items()
        }


class Streamer:
    """Reads files through `cache`; without one, through a temporary folder that lives as long as what was read."""

    def __init__(self, cache: DayCache | None = None) -> None:
        self._scratch = None
        if cache is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="watchline-chunks-")
            cache = DayCache(Path(self._scratch.name), "")
        self.cache = cache

    def log(self, files: Iterable[Path], layout: Layout) -> StreamedLog:
        """All files as one log, cut by the canonical column `date`; raises SourceError as `read_delimited` does."""
        pieces: dict[date, list[Piece]] = {}
        late: dict[date, int] = {}
        unparsable, ignored = [], list[str]()
        for path in files:
            lines = Lines(path, layout)
            tally, newest = Tally(lines), date.min
            for chunk in self._chunks(lines, by_day=True):
                tally.add(chunk.unparsable, chunk.num_lines, chunk.num_rows)
                for name, piece in chunk.pieces.items():
                    day = date.fromisoformat(name)
                    pieces.setdefault(day, []).append(piece)
                    late[day] = late.get(day, 0) + (piece.rows if newest > day else piece.overtaken)
                newest = max([newest, *map(date.fromisoformat, chunk.pieces)])
            unparsable.append(tally.unparsable())
            ignored += lines.ignored
        columns = tuple(column.target for column in layout.fields)
        return StreamedLog(pl.concat(unparsable), columns, tuple(dict.fromkeys(ignored)), pieces, late, self._scratch)

    def table(self, files: Iterable[Path], layout: Layout) -> Delimited:
        """All files as one table in memory; raises SourceError as `read_delimited` does."""
        frames, unparsable, ignored = list[pl.DataFrame](), [], list[str]()
        for path in files:
            lines = Lines(path, layout)
            tally = Tally(lines)
            for chunk in self._chunks(lines, by_day=False):
                tally.add(chunk.unparsable, chunk.num_lines, chunk.num_rows)
                frames += [pl.read_ipc(piece.path) for piece in chunk.pieces.values()]
            unparsable.append(tally.unparsable())
            ignored += lines.ignored
        return Delimited(pl.concat(frames), pl.concat(unparsable), tuple(dict.fromkeys(ignored)))

    def _chunks(self, lines: Lines, by_day: bool) -> Iterator[_Chunk]:
        settings = [lines.header, lines.layout.key(), by_day]
        for chunk in lines.chunks():
            inputs = {"chunk": blake2b(chunk, digest_size=16).hexdigest(), "layout": settings}
            yield _read_chunk(self.cache.entry(inputs, lambda folder: _write_chunk(lines, chunk, by_day, folder)))  # noqa: B023


@dataclass(frozen=True)
class _Chunk:
    """A chunk on disk. Its pieces are by local day, YYYY-MM-DD, or one."""

    unparsable: pl.DataFrame  # line (0 is the chunk's first), text, reason
    num_lines: int
    pieces: dict[str, Piece]

    @property
    def num_rows(self) -> int:
        return sum(piece.rows for piece in self.pieces.values())


def _write_chunk(lines: Lines, chunk: bytes, by_day: bool, folder: Path) -> None:
    parsed = lines.parse(chunk)
    parsed.unparsable.write_ipc(folder / "unparsable.arrow")
    pieces = {}
    for name, frame, overtaken in _cut(parsed, by_day):
        path = folder / f"{name}.arrow"
        frame.rechunk().write_ipc(path, compression="lz4")
        pieces[name] = {"digest": digest_of("", [path]), "rows": len(frame), "overtaken": overtaken}
    (folder / "chunk.json").write_text(json.dumps({"num_lines": count_lines(chunk), "pieces": pieces}))


def _cut(parsed: Parsed, by_day: bool) -> Iterator[tuple[str, pl.DataFrame, int]]:
    if not by_day:
        yield _WHOLE, parsed.frame, 0
        return
    overtaken = parsed.frame.select("date", late=pl.col("date") < pl.col("date").cum_max())
    counts = dict(overtaken.group_by("date").agg(pl.col("late").sum()).iter_rows())
    for (day,), frame in sorted(parsed.frame.partition_by("date", as_dict=True, maintain_order=True).items()):
        yield day.isoformat(), frame, counts[day]


def _read_chunk(folder: Path) -> _Chunk:
    values = json.loads((folder / "chunk.json").read_text())
    pieces = {name: Piece(path=folder / f"{name}.arrow", **facts) for name, facts in values["pieces"].items()}
    return _Chunk(pl.read_ipc(folder / "unparsable.arrow"), values["num_lines"], pieces)
