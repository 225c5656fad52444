"""Reads delimited text strictly: what does not fit its column becomes an unparsable line with a reason, never a null.

Lines end records (a quoted field cannot span lines, as in none of the public logs); blank lines carry nothing.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from watchline.data.sources.base import UNPARSABLE, SourceError, conform
from watchline.data.sources.known import recognise
from watchline.data.sources.parsing import Parser

_QUOTED = r'"(?:[^"]|"")*"'


@dataclass(frozen=True)
class Field:
    """One column to read: its name in the file, the canonical column, how to read it, and whether it may be empty."""

    name: str
    target: str
    parse: Parser
    what: str  # for the message: "a whole number"
    required: bool = False


@dataclass(frozen=True)
class Delimited:
    """A file read: canonical columns, unparsable lines (columns UNPARSABLE), names of columns not asked for."""

    frame: pl.DataFrame
    unparsable: pl.DataFrame
    ignored: tuple[str, ...]


def read_delimited(
    path: Path, fields: Sequence[Field], *, kind: str, separator: str = ",", null_codes: Sequence[str] = ()
) -> Delimited:
    """Read `path` as `fields`; a value among `null_codes` is null in every column that is not required.

    `kind` says what the file should be, for the messages. Raises SourceError naming the file when it is missing,
    lacks columns (and what it looks like instead), or has no rows.
    """
    header, lines = _read_lines(path, kind, separator)
    _check_header(path, header, fields, kind)
    if lines.is_empty():
        raise SourceError(f"{path}: no rows after the header; {kind} is needed whole, get the file again")
    good, malformed = _split_malformed(lines, len(header), separator)
    raw = _to_columns(good["text"], header, separator, [field.name for field in fields])
    columns, reasons = _parse(raw, fields, null_codes)
    frame = pl.DataFrame(columns)
    if reasons is not None:
        broken = reasons.is_not_null()
        malformed = pl.concat([malformed, good.filter(broken).with_columns(reason=reasons.filter(broken))])
        frame = frame.filter(~broken)
    unparsable = malformed.sort("line").with_columns(file=pl.lit(path.name))
    if frame.is_empty():
        reason = unparsable["reason"][0]
        raise SourceError(f"{path}: none of {len(lines)} rows can be read as {kind}; the first: {reason}")
    named = {field.name for field in fields}
    ignored = tuple(name for name in header if name not in named)
    return Delimited(frame, conform(unparsable, UNPARSABLE), ignored)


def _read_lines(path: Path, kind: str, separator: str) -> tuple[list[str], pl.DataFrame]:
    if not path.is_file():
        raise SourceError(f"{path}: no such file; it should be {kind}")
    if not path.stat().st_size:
        raise SourceError(f"{path}: empty file; it should be {kind}, get it again")
    try:
        lines = pl.read_lines(path, name="text", glob=False)
    except pl.exceptions.ComputeError:  # not UTF-8: the lines with broken bytes are told apart below
        lines = pl.DataFrame({"text": path.read_bytes().decode("utf-8", errors="replace").split("\n")})
    lines = lines.with_columns(pl.col("text").str.strip_suffix("\r")).with_row_index("line", offset=1)
    header = next(csv.reader([lines["text"][0].removeprefix("\ufeff")], delimiter=separator), [])
    lines = lines.select(pl.col("line").cast(pl.Int64), "text")
    return [name.strip() for name in header], lines[1:].filter(pl.col("text") != "")


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


def _split_malformed(lines: pl.DataFrame, num_fields: int, separator: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lines with the right number of fields, and the others with a reason."""
    bare = lines["text"]
    if bare.str.contains('"', literal=True).any():
        bare = bare.str.replace_all(_QUOTED, "")
    count = (bare.str.count_matches(separator, literal=True) + 1).cast(pl.Int64)
    reason = (
        pl.when(bare.str.contains('"', literal=True))
        .then(pl.lit("a quote is not closed"))
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
