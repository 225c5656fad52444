"""Feast's file sources on disk: one Parquet file or a folder of them, read by columns and time, and appended to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import polars as pl
from feast import RepoConfig
from feast.data_source import DataSource
from feast.infra.offline_stores.file_source import FileSource

from watchline.data.tables import TableError, write_parquet
from watchline.feature_store.point_in_time import to_utc


def read_source(config: RepoConfig, source: DataSource, columns: list[str]) -> pl.DataFrame:
    """Columns of every row; raises TableError naming the file that is missing, cut short or lacks a column."""
    path = _path(config, source)
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise TableError(f"{path}: source {source.name!r} has no Parquet file; run `dvc repro features`")
    return pl.concat([_read_file(file, columns, source.name) for file in files])


def between(rows: pl.DataFrame, time: str, start: datetime | None, end: datetime | None) -> pl.DataFrame:
    """Rows with start <= time <= end (None: no bound); rows without a time go."""
    moment = to_utc(rows, time)
    keep = moment.is_not_null()
    if start is not None:
        keep &= moment >= _utc(start)
    if end is not None:
        keep &= moment <= _utc(end)
    return rows.filter(keep)


def append_rows(config: RepoConfig, source: DataSource, rows: pl.DataFrame) -> None:
    """Add rows to a source: at the end of its file, or as one more file of its folder, named by its content.

    Rows that a folder was already given are not doubled. Raises ValueError when columns or types do not fit.
    """
    path = _path(config, source)
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise TableError(f"{path}: source {source.name!r} has no Parquet file that tells its columns")
    schema = pl.read_parquet_schema(files[-1])
    fitting = _cast(rows, schema, source.name)
    if path.is_dir():
        write_by_content(fitting, path)
    else:
        write_parquet(pl.concat([_read_file(path, list(schema), source.name), fitting]), path)


def write_by_content(rows: pl.DataFrame, folder: Path, partition_by: Sequence[str] = ()) -> None:
    """Write rows to a Parquet file named by the digest of its bytes, below COLUMN=VALUE folders where asked.

    Files keep the columns of their folders' names: `read_source` takes a row's values from its file alone.
    """
    parts = rows.partition_by(partition_by, maintain_order=True) if partition_by else [rows]
    for part in parts:
        place = folder
        for column in partition_by:
            place /= f"{column}={quote(str(part[column][0]), safe='')}"
        partial = place / "rows.partial"
        write_parquet(part, partial)
        partial.replace(place / f"{hashlib.sha256(partial.read_bytes()).hexdigest()[:32]}.parquet")


def _path(config: RepoConfig, source: DataSource) -> Path:
    if not isinstance(source, FileSource):
        raise ValueError(f"{source.name}: PolarsOfflineStore reads FileSource, not {type(source).__name__}")
    return Path(FileSource.get_uri_for_file_path(config.repo_path, source.file_options.uri))


def _read_file(path: Path, columns: list[str], source: str) -> pl.DataFrame:
    try:
        absent = [column for column in columns if column not in pl.read_parquet_schema(path)]
        if not absent:
            return pl.read_parquet(path, columns=columns, hive_partitioning=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise TableError(
            f"{path}: not readable Parquet ({error}); `dvc checkout` restores the last good one"
        ) from error
    raise TableError(f"{path}: source {source!r} lacks {', '.join(absent)}; run `dvc repro features`")


def _cast(rows: pl.DataFrame, schema: pl.Schema, source: str) -> pl.DataFrame:
    missing, unknown = sorted(set(schema) - set(rows.columns)), sorted(set(rows.columns) - set(schema))
    if missing or unknown:
        raise ValueError(f"{source}: rows lack {missing or 'nothing'}, and have {unknown or 'nothing'} beyond it")
    columns = []
    for name, dtype in schema.items():
        try:
            columns.append(rows[name].cast(dtype))
        except pl.exceptions.PolarsError as error:
            raise ValueError(f"{source}: {name} is {rows[name].dtype}, its file has {dtype} ({error})") from error
    return pl.DataFrame(columns)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
