"""Reads delimited text strictly: what does not fit its column becomes an unparsable line with a reason, never a null.

Lines end records (a quoted field cannot span lines, as in none of the public logs), a field is quoted as a whole or not
at all, and blank lines carry nothing. A file is read a chunk of lines at a time. A chunk of plain numbers takes a fast
path; anything else is taken apart line by line, with the same outcome.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from watchline.data.sources.base import MAX_UNPARSABLE, UNPARSABLE, SourceError, conform
from watchline.data.sources.chunks import LineError, cut_lines
from watchline.data.sources.known import recognise
from watchline.data.sources.parsing import OF_WHOLE_NUMBERS, Parser

_QUOTED = r'(^|{separator})"(?:[^"]|"")*"'  # a whole field from its start, as far as a closing quote
_STRAY = r'[^{separator}]"|"[^{separator}]'  # a quote inside a field, once each quoted field is one quote
_MAX_HEADER = 1 << 20
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Field:
    """One column to read: its name in the file, the canonical column, how to read it, and whether it may be empty."""

    name: str
    target: str
    parse: Parser
    what: str  # for the message: "a whole number"
    required: bool = False


@dataclass(frozen=True)
class Layout:
    """How the lines of a kind of file are read; `kind` says what the file should be, for the messages."""

    fields: tuple[Field, ...]
    kind: str
    separator: str = ","
    null_codes: tuple[str, ...] = ()  # values that are null in every column that is not required

    def key(self) -> list[object]:
        """What the outcome of reading a chunk depends on besides its bytes and the code, JSON-able."""
        fields = [(f.name, f.target, f.parse.__name__, f.what, f.required) for f in self.fields]
        return [fields, self.kind, self.separator, list(self.null_codes)]


@dataclass(frozen=True)
class Delimited:
    """A file read: canonical columns, unparsable lines (columns UNPARSABLE), names of columns not asked for."""

    frame: pl.DataFrame
    unparsable: pl.DataFrame
    ignored: tuple[str, ...]


@dataclass(frozen=True)
class Parsed:
    """A chunk read: canonical columns, and unparsable lines (line: 0 is the chunk's first; text; reason)."""

    frame: pl.DataFrame
    unparsable: pl.DataFrame


class Lines:
    """A delimited file opened: its checked header, and its lines in chunks."""

    def __init__(self, path: Path, layout: Layout) -> None:
        """Raises SourceError when the file is missing, empty or lacks columns (and what it looks like instead)."""
        self.path, self.layout = path, layout
        self.header, self._offset = _read_header(path, layout)
        _check_header(path, self.header, layout.fields, layout.kind)

    @property
    def ignored(self) -> tuple[str, ...]:
        """Columns of the file that were not asked for."""
        named = {field.name for field in self.layout.fields}
        return tuple(name for name in self.header if name not in named)

    def chunks(self) -> Iterator[bytes]:
        """The lines after the header, some megabytes at a time; raises SourceError for what is no text."""
        with self.path.open("rb") as stream:
            stream.seek(self._offset)
            try:
                yield from cut_lines(stream)
            except LineError as error:
                raise SourceError(f"{self.path}: {error}; it should be {self.layout.kind}, a text file") from None

    def parse(self, chunk: bytes) -> Parsed:
        """Read one chunk; what it holds does not depend on where in the file it stands."""
        frame = _parse_plain(chunk, self.header, self.layout)
        if frame is not None:
            return Parsed(frame, _no_lines())
        return _parse_lines(chunk, self.header, self.layout)


class Tally:
    """Counts the chunks of a file as they are read, and gathers the lines that could not be."""

    def __init__(self, lines: Lines) -> None:
        self._path, self._kind = lines.path, lines.layout.kind
        self._found = [conform(_no_lines(), UNPARSABLE)]
        self._num_rows = self._num_broken = 0
        self._next_line = 2  # the header is line 1

    def add(self, unparsable: pl.DataFrame, num_lines: int, num_rows: int) -> None:
        """Add the next chunk; raises SourceError when too many lines of the file cannot be read."""
        if len(unparsable):
            placed = unparsable.with_columns(pl.col("line") + self._next_line, file=pl.lit(self._path.name))
            self._found.append(conform(placed, UNPARSABLE))
        self._num_rows += num_rows
        self._num_broken += len(unparsable)
        self._next_line += num_lines
        if self._num_broken > MAX_UNPARSABLE:
            raise self._refused(f"more than {MAX_UNPARSABLE:,} lines cannot be read")

    def unparsable(self) -> pl.DataFrame:
        """Lines that could not be read (columns UNPARSABLE); raises SourceError when no row could."""
        if not self._num_rows and not self._num_broken:
            raise SourceError(
                f"{self._path}: no rows after the header; {self._kind} is needed whole, get the file again"
            )
        if not self._num_rows:
            raise self._refused(f"none of {self._num_broken} rows can be read")
        return pl.concat(self._found)

    def _refused(self, what: str) -> SourceError:
        return SourceError(f"{self._path}: {what} as {self._kind}; the first: {self._found[1]['reason'][0]}")


def count_lines(chunk: bytes) -> int:
    """Lines of a chunk, blank ones and a last one without an end included."""
    return chunk.count(b"\n") + (not chunk.endswith(b"\n"))


def read_delimited(
    path: Path, fields: Sequence[Field], *, kind: str, separator: str = ",", null_codes: Sequence[str] = ()
) -> Delimited:
    """Read `path` as `fields`; a value among `null_codes` is null in every column that is not required.

    `kind` says what the file should be, for the messages. Raises SourceError naming the file when it is missing,
    lacks columns (and what it looks like instead), or has no rows.
    """
    lines = Lines(path, Layout(tuple(fields), kind, separator, tuple(null_codes)))
    tally, frames = Tally(lines), []
    for chunk in lines.chunks():
        parsed = lines.parse(chunk)
        tally.add(parsed.unparsable, count_lines(chunk), len(parsed.frame))
        frames.append(parsed.frame)
    unparsable = tally.unparsable()
    return Delimited(pl.concat(frames), unparsable, lines.ignored)


def _read_header(path: Path, layout: Layout) -> tuple[list[str], int]:
    """Column names, and where the lines after them begin."""
    if not path.is_file():
        raise SourceError(f"{path}: no such file; it should be {layout.kind}")
    with path.open("rb") as stream:
        first = stream.readline(_MAX_HEADER)
    if not first:
        raise SourceError(f"{path}: empty file; it should be {layout.kind}, get it again")
    text = first.removeprefix(_BOM).decode("utf-8", errors="replace").rstrip("\r\n")
    header = next(csv.reader([text], delimiter=layout.separator), [])
    return [name.strip() for name in header], len(first)


def _check_header(path: Path, header: list[str], fields: Sequence[Field], kind: str) -> None:
    missing = [field.name for field in fields if field.name not in header]
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise SourceError(f"{path}: column {', '.join(repeated)} stands more than once in the header; keep one")
    if not missing:
        return
    found = recognise(header)
    has = ", ".join(header[:8]) + (", ..." if len(header) > 8 else "")
    looks = f"; it looks like {found}" if found is not None and found not in kind else ""
    raise SourceError(
        f"{path}: should be {kind}, but column {', '.join(missing)} is missing "
        f"({len(missing)} of {len(fields)}; the file has {len(header)}: {has}){looks}; "
        "check ingest.source and ingest.path"
    )


def _parse_plain(chunk: bytes, header: list[str], layout: Layout) -> pl.DataFrame | None:
    """The rows of a chunk that has nothing but sound lines of ASCII; None when it may have anything else."""
    plain = chunk.isascii() and len(header) > 1 and not any(sign in chunk for sign in (b'"', b"\r", b" ", b"\t"))
    if not plain:
        return None
    types: dict[str, type[pl.DataType]] = dict.fromkeys(header, pl.String)
    types |= {field.name: pl.Int64 for field in layout.fields if _as_integers(field, layout)}
    try:
        raw = pl.read_csv(chunk, separator=layout.separator, has_header=False, schema=types)
    except pl.exceptions.PolarsError:  # a line too long, or a value that is no whole number
        return None
    # No line has a separator too many, so with this sum none has one too few.
    if chunk.count(layout.separator.encode()) != len(raw) * (len(header) - 1):
        return None
    columns, reasons = _parse(raw, layout.fields, layout.null_codes)
    return None if reasons is not None else pl.DataFrame(columns)


def _as_integers(field: Field, layout: Layout) -> bool:
    return field.parse in OF_WHOLE_NUMBERS and (field.required or not layout.null_codes)


def _parse_lines(chunk: bytes, header: list[str], layout: Layout) -> Parsed:
    lines = _split_lines(chunk)
    good, malformed = _split_malformed(lines, len(header), layout.separator)
    raw = _to_columns(good["text"], header, layout.separator, [field.name for field in layout.fields])
    columns, reasons = _parse(raw, layout.fields, layout.null_codes)
    frame = pl.DataFrame(columns)
    if reasons is not None:
        broken = reasons.is_not_null()
        malformed = pl.concat([malformed, good.filter(broken).with_columns(reason=reasons.filter(broken))])
        frame = frame.filter(~broken)
    return Parsed(frame, malformed.sort("line"))


def _split_lines(chunk: bytes) -> pl.DataFrame:
    """Lines that are not blank: line (0 is the chunk's first), text. Bytes that are not UTF-8 become U+FFFD."""
    text = pl.Series("text", chunk.decode("utf-8", errors="replace").split("\n"), dtype=pl.String)
    lines = text.str.strip_suffix("\r").to_frame().with_row_index("line")
    return lines.filter(pl.col("text") != "").select(pl.col("line").cast(pl.Int64), "text")


def _split_malformed(lines: pl.DataFrame, num_fields: int, separator: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lines with the right number of fields, and the others with a reason."""
    bare, quotes = lines["text"], lines["text"].str.count_matches('"', literal=True)
    sign = f"\\x{ord(separator):02x}"
    if (quotes > 0).any():
        bare = bare.str.replace_all(_QUOTED.format(separator=sign), '${1}"')
    count = (bare.str.count_matches(separator, literal=True) + 1).cast(pl.Int64)
    reason = (
        pl.when(quotes % 2 == 1)
        .then(pl.lit("a quote is not closed"))
        .when(bare.str.contains(_STRAY.format(separator=sign)))
        .then(pl.lit("a quote inside a field"))
        .when(count != num_fields)
        .then(pl.format("{} fields instead of {}", count, pl.lit(num_fields)))
        .when(lines["text"].str.contains("\ufffd", literal=True))
        .then(pl.lit("broken encoding (not UTF-8)"))
    )
    marked = lines.with_columns(reason=reason)
    return lines.filter(marked["reason"].is_null()), marked.filter(pl.col("reason").is_not_null())


def _to_columns(text: pl.Series, header: list[str], separator: str, names: list[str]) -> pl.DataFrame:
    if text.is_empty():
        return pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    buffer = io.BytesIO("\n".join(text).encode())
    return pl.read_csv(buffer, separator=separator, has_header=False, new_columns=header, infer_schema=False)[names]


def _parse(
    raw: pl.DataFrame, fields: Sequence[Field], null_codes: Sequence[str]
) -> tuple[dict[str, pl.Series], pl.Series | None]:
    """Typed columns by canonical name, and for each row the first column that cannot be read (None: every row can)."""
    columns, reasons = {}, None
    codes = [*null_codes, *(f"{code}.0" for code in null_codes)]
    for field in fields:
        values = raw[field.name]
        if codes and not field.required:
            values = values.set(values.is_in(codes), None)
        parsed = field.parse(values)
        columns[field.target] = parsed.alias(field.target)
        if parsed.null_count() == (0 if field.required else values.null_count()):
            continue
        wrong = pl.format("column {}: {} is not {}", pl.lit(field.name), values, pl.lit(field.what))
        empty = pl.lit(f"column {field.name}: empty" if field.required else None, dtype=pl.String)
        reason = pl.when(values.is_null()).then(empty).when(parsed.is_null()).then(wrong)
        found = pl.select(reason=reason)["reason"]
        reasons = found if reasons is None else reasons.fill_null(found)
    return columns, reasons


def _no_lines() -> pl.DataFrame:
    return pl.DataFrame(schema={"line": pl.Int64, "text": pl.String, "reason": pl.String})
