"""Any table in Parquet through a column mapping: `columns` says which column of the file fills which canonical one.

Text ids become whole numbers that are the same in every run (codes.py). The local day comes from the time and
`utc_offset_hours`. A row without user, video, time or watch time is unparsable, and so is one with a value that its
canonical column cannot hold (half a surface, a flag of 2); without a `users` or `videos` file the table is the ids that
the exposures have. Days are read one at a time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import Field as Setting
from pydantic import field_validator

from watchline.config import Config
from watchline.data.schema import EXPOSURES, TIMESTAMP, USERS, VIDEOS
from watchline.data.sources.base import MAX_UNPARSABLE, UNPARSABLE, SourceError, SourceTables, conform
from watchline.data.sources.codes import stable_codes
from watchline.data.sources.parsing import FIRST_MS, LAST_MS, seconds_from_ms

SCHEMAS = {"exposures": EXPOSURES, "users": USERS, "videos": VIDEOS}
REQUIRED = ("user_id", "video_id", "exposed_at", "watch_time_s")
_WHOLE = "a whole number below 2^63 (as an id it can be cast to text)"
_PER_SECOND = {"s": 1, "ms": 1000, "us": 1_000_000}


class TableMapping(Config):
    """One table: its file or folder of files below ingest.path, and where its columns come from."""

    file: str = Setting(description="file, or folder of *.parquet, below ingest.path; empty: ingest.path itself")
    columns: dict[str, str] = Setting(min_length=1, description="canonical column -> column of the file")


class ParquetConfig(Config):
    """Where the tables lie and what their columns are."""

    source: Literal["parquet"]
    path: str
    utc_offset_hours: int = Setting(ge=-12, le=14, description="of the local day")
    time_unit: Literal["s", "ms", "us"] = Setting(description="of exposed_at where it is a number since 1970 (UTC)")
    duration_unit: Literal["s", "ms"] = Setting(description="of every canonical column that ends in _s")
    exposures: TableMapping
    users: TableMapping | None = None
    videos: TableMapping | None = None

    @field_validator("exposures")
    @classmethod
    def _has_what_is_required(cls, mapping: TableMapping) -> TableMapping:
        missing = [name for name in REQUIRED if name not in mapping.columns]
        if missing:
            raise ValueError(f"columns must map {', '.join(missing)}")
        return mapping


@dataclass(frozen=True)
class _Scanned:
    """The rows of a table whose values all fit, canonical, ids as they are, and those with one that does not, by file.

    Both have `file` and `line`, the row's number in the file; `misfits` have the file's own values under the canonical
    names, and `reason`.
    """

    rows: pl.LazyFrame
    misfits: list[pl.LazyFrame]


def read(path: Path, config: ParquetConfig) -> SourceTables:
    """Read the tables below `path`. Raises SourceError naming file, column and type."""
    exposures = _scan(path, "exposures", config.exposures, config)
    log = exposures.rows
    present = pl.all_horizontal(pl.col(name).is_not_null() for name in REQUIRED)
    days = log.filter(present).select(pl.col("date").unique()).collect()["date"].sort().to_list()
    unparsable = _unparsable([_without_required(log.filter(~present)), *exposures.misfits])
    if not days:
        first = f" (the first row: {unparsable['reason'][0]})" if len(unparsable) else ""
        raise SourceError(
            f"{path}: no row of the exposures has user, video, time and watch time, and values that fit{first}; "
            "check ingest.exposures"
        )

    def exposures_of(day: date) -> pl.DataFrame:
        return _finish(log.filter(present & (pl.col("date") == day)).drop("file", "line").collect(), config)

    tables = {}
    for name, key in (("users", "user_id"), ("videos", "video_id")):
        mapping: TableMapping | None = getattr(config, name)
        if mapping is None:
            tables[name] = _finish(log.filter(present).select(pl.col(key).unique()).collect(), config).sort(key)
            continue
        scanned = _scan(path, name, mapping, config)
        tables[name] = _finish(scanned.rows.drop("file", "line").collect(), config)
        unparsable = pl.concat([unparsable, _unparsable(scanned.misfits)])
    filled = {"exposures": set(config.exposures.columns) | {"date"}}
    filled |= {name: set(table.columns) for name, table in tables.items()}
    return SourceTables(
        days=tuple(days),
        exposures_of=exposures_of,
        users=tables["users"],
        videos=tables["videos"],
        unparsable=unparsable,
        utc_offset_hours=config.utc_offset_hours,
        columns_filled={name: tuple(c for c in SCHEMAS[name] if c in columns) for name, columns in filled.items()},
    )


def _scan(path: Path, table: str, mapping: TableMapping, config: ParquetConfig) -> _Scanned:
    frames: list[pl.LazyFrame] = []
    misfits: list[pl.LazyFrame] = []
    for file in _files(path / mapping.file):
        schema = _schema(file, table, mapping)
        columns = [_column(file, schema[name], name, to, table, config) for to, name in mapping.columns.items()]
        lazy = pl.scan_parquet(file, hive_partitioning=False).with_row_index("line", offset=1)
        place = (pl.lit(file.name).alias("file"), pl.col("line").cast(pl.Int64))
        reasons = _misfits(schema, table, mapping, columns)
        if reasons:
            own = [pl.col(name).alias(to) for to, name in mapping.columns.items()]
            is_misfit = pl.any_horizontal(is_one for is_one, _ in reasons)
            reason = pl.coalesce(pl.when(is_one).then(text) for is_one, text in reasons)
            misfits.append(lazy.filter(is_misfit).select(*place, *own, reason.alias("reason")))
            lazy = lazy.filter(~is_misfit)
        frames.append(lazy.select(*place, *columns))
        if frames[-1].collect_schema() != frames[0].collect_schema():
            raise SourceError(f"{file}: its ids are of another type than those of the files before; convert them")
    frame = pl.concat(frames)
    if table == "exposures":
        local = pl.col("exposed_at") + timedelta(hours=config.utc_offset_hours)
        frame = frame.with_columns(local.dt.date().alias("date"))
    return _Scanned(frame, misfits)


def _misfits(
    schema: Mapping[str, pl.DataType], table: str, mapping: TableMapping, columns: list[pl.Expr]
) -> list[tuple[pl.Expr, pl.Expr]]:
    """For each column of a type wider than its canonical one: whether a value does not fit, and the reason then."""
    found = []
    for (to, name), column in zip(mapping.columns.items(), columns, strict=True):
        kind, canonical = schema[name], SCHEMAS[table][to]
        is_flag = canonical == pl.Boolean and kind.is_integer()
        if is_flag or (canonical == pl.Int64 and kind.is_numeric() and not kind.is_signed_integer()):
            what = pl.lit("0 or 1" if is_flag else _WHOLE if kind.is_integer() else "a whole number")
            reason = pl.format("column {}: {} is not {}", pl.lit(name), pl.col(name), what)
            found.append((pl.col(name).is_not_null() & column.is_null(), reason))
    return found


def _files(path: Path) -> list[Path]:
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise SourceError(f"{path}: no Parquet file there; set ingest.path and the `file` of each table in ingest")
    return files


def _schema(file: Path, table: str, mapping: TableMapping) -> Mapping[str, pl.DataType]:
    unknown = [name for name in mapping.columns if name not in SCHEMAS[table]]
    if unknown:
        raise SourceError(f"ingest.{table}.columns: {', '.join(unknown)} is no column of {table}; see docs/data.md")
    try:
        schema = pl.read_parquet_schema(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SourceError(f"{file}: not a readable Parquet file ({error}); get it again") from error
    missing = [name for name in mapping.columns.values() if name not in schema]
    if missing:
        raise SourceError(
            f"{file}: column {', '.join(missing)} is missing (it has {', '.join(schema)}); "
            f"change ingest.{table}.columns"
        )
    return schema


def _column(file: Path, kind: pl.DataType, name: str, target: str, table: str, config: ParquetConfig) -> pl.Expr:
    """One canonical column as an expression; raises SourceError when the file's type cannot be one."""
    column, canonical = pl.col(name), SCHEMAS[table][target]
    if target.endswith("_id"):
        allowed = kind.is_integer() or kind in (pl.String, pl.Categorical, pl.Enum)
        column = column.cast(pl.Int64 if kind.is_integer() else pl.String, strict=False)
    elif target == "exposed_at":
        allowed = kind.is_integer() or isinstance(kind, pl.Datetime)
        column = _as_time(column, kind, config.time_unit)
    elif target.endswith("_s"):
        allowed = kind.is_numeric()
        column = column.cast(pl.Float64, strict=False)
    else:
        allowed = _fits(kind, canonical)
        column = _exactly(column, kind, canonical)
    if not allowed:
        raise SourceError(f"{file}: column {name} is {kind}, which cannot be {target}; map another one or convert it")
    return column.alias(target)


def _fits(kind: pl.DataType, canonical: Any) -> bool:
    if canonical == pl.Boolean:
        return kind == pl.Boolean or kind.is_integer()
    if canonical in (pl.Int64, pl.Float64):
        return kind.is_numeric()
    return kind == canonical or (canonical == pl.String and not kind.is_nested())


def _exactly(column: pl.Expr, kind: pl.DataType, canonical: Any) -> pl.Expr:
    """As the canonical type, null for what would be another value there."""
    if canonical == pl.Boolean and kind.is_integer():
        column = pl.when(column.is_in([0, 1])).then(column)
    elif canonical == pl.Int64 and not kind.is_integer():
        number = column.cast(pl.Float64)
        column = pl.when((number == number.round()) & (number.abs() <= 2.0**53)).then(number)
    return column.cast(canonical, strict=False)


def _as_time(column: pl.Expr, kind: pl.DataType, unit: str) -> pl.Expr:
    if isinstance(kind, pl.Datetime):
        aware = column.dt.replace_time_zone("UTC") if kind.time_zone is None else column.dt.convert_time_zone("UTC")
        return aware.cast(TIMESTAMP)
    # A number out of the calendar is in another unit than the one given, or broken: no time.
    per_second = _PER_SECOND[unit]
    credible = column.is_between(FIRST_MS // 1000 * per_second, LAST_MS // 1000 * per_second)
    return pl.when(credible).then(column.cast(pl.Int64) * (1_000_000 // per_second)).cast(TIMESTAMP)


def _finish(frame: pl.DataFrame, config: ParquetConfig) -> pl.DataFrame:
    """Text ids as codes, milliseconds as seconds."""
    columns = [
        stable_codes(frame[name]).alias(name)
        for name, kind in frame.schema.items()
        if name.endswith("_id") and kind == pl.String
    ]
    if config.duration_unit == "ms":
        columns += [seconds_from_ms(frame[name]).alias(name) for name in frame.columns if name.endswith("_s")]
    return frame.with_columns(columns)


def _without_required(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Those rows with the first required column that is empty as `reason`."""
    empty = (pl.when(pl.col(name).is_null()).then(pl.lit(f"column {name}: empty")) for name in REQUIRED)
    return rows.with_columns(reason=pl.coalesce(empty))


def _unparsable(parts: list[pl.LazyFrame]) -> pl.DataFrame:
    """Rows that cannot be read, with their values as text, by file and line; raises SourceError for too many."""
    lines: list[dict[str, Any]] = []
    for part in parts:
        rows = part.head(MAX_UNPARSABLE + 1 - len(lines)).collect()
        for row in rows.iter_rows(named=True):
            place = {name: row.pop(name) for name in ("file", "line", "reason")}
            lines.append({**place, "text": json.dumps(row, default=str, sort_keys=True)})
        if len(lines) > MAX_UNPARSABLE:
            last = lines[-1]
            raise SourceError(
                f"{last['file']}: more than {MAX_UNPARSABLE:,} rows cannot be read, among them row {last['line']} "
                f"({last['reason']}); map another column or convert it"
            )
    return conform(pl.DataFrame(lines, schema=UNPARSABLE), UNPARSABLE).sort("file", "line")
