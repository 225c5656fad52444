"""Feast offline store that runs point-in-time joins in Polars.

In feature_store.yaml: ``offline_store: {type: watchline.feature_store.polars_store.PolarsOfflineStore}``.
Sources are `FileSource`s: one Parquet file, or a folder of Parquet files. Entity rows may be a Polars or pandas frame
or an Arrow table; every row is kept, in order. Values equal those of Feast's DuckDB store.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
from feast.data_source import DataSource
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_view import DUMMY_ENTITY_ID, FeatureView
from feast.infra.offline_stores.file_source import FileSource, SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.saved_dataset import SavedDatasetStorage
from pydantic import StrictStr

from watchline.data.tables import TableError, write_parquet
from watchline.feature_store.point_in_time import FeatureRows, join_as_of, newest, to_utc

EVENT_TIME = "event_timestamp"  # Feast's default name of the entity rows' time

Entities = pl.DataFrame | pd.DataFrame | pa.Table


class PolarsOfflineStoreConfig(FeastConfigBaseModel):
    """Section `offline_store` of feature_store.yaml."""

    type: StrictStr = "watchline.feature_store.polars_store.PolarsOfflineStore"


class PolarsRetrievalJob(RetrievalJob):
    """A join that has been planned; `to_polars`, `to_arrow` and `to_df` run it."""

    def __init__(
        self,
        run: Callable[[], pl.DataFrame],
        repo_path: Path | None,
        metadata: RetrievalMetadata | None = None,
        on_demand_feature_views: list[OnDemandFeatureView] | None = None,
        full_feature_names: bool = False,
    ) -> None:
        self._run = run
        self._repo_path = repo_path
        self._metadata = metadata
        self._on_demand_feature_views = on_demand_feature_views or []
        self._full_feature_names = full_feature_names

    @property
    def full_feature_names(self) -> bool:
        """Whether features are named `view__feature`."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """The transformations that `to_arrow` runs on the joined rows."""
        return self._on_demand_feature_views

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """Which features and keys, over which times (None for the pull methods)."""
        return self._metadata

    def to_polars(self) -> pl.DataFrame:
        """The result, on-demand features included, as a Polars frame."""
        if not self._on_demand_feature_views:
            return self._run()
        return pl.DataFrame(pl.from_arrow(self.to_arrow()))

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        # The oldest compatibility level has no string views, which pandas and Feast's type map do not know.
        return self._run().to_arrow(compat_level=pl.CompatLevel.oldest())

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._to_arrow_internal(timeout).to_pandas()

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the result to one Parquet file; raises SavedDatasetLocationAlreadyExists unless `allow_overwrite`."""
        if not isinstance(storage, SavedDatasetFileStorage):
            raise ValueError(f"{type(storage).__name__}: this store persists to SavedDatasetFileStorage only")
        uri = storage.file_options.uri
        path = Path(FileSource.get_uri_for_file_path(self._repo_path, uri))
        if path.exists() and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=uri)
        write_parquet(self.to_polars(), path)


class PolarsOfflineStore(OfflineStore):
    """Point-in-time joins and pulls over Parquet sources, in Polars."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: Entities | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        **options: Any,
    ) -> RetrievalJob:
        """Plan the join of every view's features onto the entity rows; raises ValueError for SQL or no entity rows."""
        if options:
            raise NotImplementedError(f"PolarsOfflineStore takes no {', '.join(sorted(options))}; pass entity rows")
        entities = _as_polars(entity_df)
        time = _event_time(entities)
        entities = entities.with_columns(to_utc(entities, time))
        oldest, latest = entities[time].min(), entities[time].max()

        def run() -> pl.DataFrame:
            views = [
                _feature_rows(config, view, feature_refs, full_feature_names, oldest, latest) for view in feature_views
            ]
            return join_as_of(entities, time, views)

        metadata = RetrievalMetadata(
            features=feature_refs,
            keys=[column for column in entities.columns if column != time],
            min_event_timestamp=oldest,
            max_event_timestamp=latest,
        )
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        return PolarsRetrievalJob(run, config.repo_path, metadata, on_demand, full_feature_names)

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """The newest row of each key with start <= time <= end, sorted by key; columns keep the source's names."""
        columns = _columns(join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)

        def run() -> pl.DataFrame:
            rows = _between(_read(config, data_source, columns), timestamp_field, start_date, end_date)
            latest = newest(rows, join_key_columns, timestamp_field, created_timestamp_column)
            return latest.sort(join_key_columns) if join_key_columns else latest

        return PolarsRetrievalJob(run, config.repo_path)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Every row with start <= time <= end (None: no bound), in the source's order and names."""
        columns = _columns(join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)

        def run() -> pl.DataFrame:
            return _between(_read(config, data_source, columns), timestamp_field, start_date, end_date)

        return PolarsRetrievalJob(run, config.repo_path)


def _as_polars(entity_df: Entities | str | None) -> pl.DataFrame:
    if isinstance(entity_df, pl.DataFrame):
        return entity_df
    if isinstance(entity_df, pd.DataFrame):
        return pl.from_pandas(entity_df)
    if isinstance(entity_df, pa.Table):
        return pl.DataFrame(pl.from_arrow(entity_df))
    kind = "SQL" if isinstance(entity_df, str) else type(entity_df).__name__
    raise ValueError(f"entity_df: PolarsOfflineStore takes a Polars or pandas frame or an Arrow table, got {kind}")


def _event_time(entities: pl.DataFrame) -> str:
    if EVENT_TIME in entities.columns:
        return EVENT_TIME
    times = [name for name, dtype in entities.schema.items() if isinstance(dtype, pl.Datetime)]
    if len(times) != 1:
        raise ValueError(f"entity_df: name the time column {EVENT_TIME!r}; time columns found: {times or 'none'}")
    return times[0]


def _feature_rows(
    config: RepoConfig,
    view: FeatureView,
    feature_refs: list[str],
    full_feature_names: bool,
    oldest: datetime | None,
    latest: datetime | None,
) -> FeatureRows:
    source = view.batch_source
    if source is None:
        raise ValueError(f"{view.name}: the feature view has no batch source")
    original = {new: old for old, new in source.field_mapping.items()}
    name = view.projection.name_to_use()
    alias = view.projection.name_alias or view.name
    features = dict.fromkeys(ref.split(":", 1)[1] for ref in feature_refs if ref.split(":", 1)[0] == name)
    keys = [column.name for column in view.entity_columns if column.name != DUMMY_ENTITY_ID]
    time, created = (
        original.get(column, column) for column in (source.timestamp_field, source.created_timestamp_column)
    )
    keys_of_source = [original.get(key, key) for key in keys]
    columns = _columns(keys_of_source, [original.get(feature, feature) for feature in features], time, created)
    start = oldest - view.ttl if oldest and view.ttl else None
    return FeatureRows(
        name=view.name,
        frame=_between(_read(config, source, columns), time, start, latest),
        keys={old: view.projection.join_key_map.get(key, key) for old, key in zip(keys_of_source, keys)},
        features={original.get(f, f): f"{alias}__{f}" if full_feature_names else f for f in features},
        time=time,
        created=created or None,
        ttl=view.ttl or None,
    )


def _columns(keys: list[str], features: list[str], time: str, created: str | None) -> list[str]:
    return list(dict.fromkeys([*keys, *features, time, *([created] if created else [])]))


def _read(config: RepoConfig, source: DataSource, columns: list[str]) -> pl.DataFrame:
    if not isinstance(source, FileSource):
        raise ValueError(f"{source.name}: PolarsOfflineStore reads FileSource, not {type(source).__name__}")
    path = Path(FileSource.get_uri_for_file_path(config.repo_path, source.file_options.uri))
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise TableError(f"{path}: source {source.name!r} has no Parquet file; run `dvc repro features`")
    return pl.concat([_read_file(file, columns, source.name) for file in files])


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


def _between(rows: pl.DataFrame, time: str, start: datetime | None, end: datetime | None) -> pl.DataFrame:
    """Rows with start <= time <= end; rows without a time go."""
    moment = to_utc(rows, time)
    keep = moment.is_not_null()
    if start is not None:
        keep &= moment >= _utc(start)
    if end is not None:
        keep &= moment <= _utc(end)
    return rows.filter(keep)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
