"""Feast offline store that runs point-in-time joins in Polars.

In feature_store.yaml: ``offline_store: {type: watchline.feature_store.polars_store.PolarsOfflineStore}``.
Sources are `FileSource`s: one Parquet file, or a folder of Parquet files. Entity rows may be a Polars or pandas frame
or an Arrow table (every row is kept, in order), or a range of time; SQL is refused. Values equal those of Feast's
DuckDB store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
from feast.data_source import DataSource
from feast.feature_logging import LoggingConfig, LoggingSource
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL, FeatureView
from feast.infra.offline_stores.file_source import FileLoggingDestination, FileSource
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.utils import compute_non_entity_date_range
from pydantic import StrictStr

from watchline.data.schema import TIMESTAMP
from watchline.feature_store.parquet_sources import append_rows, between, read_source, write_by_content
from watchline.feature_store.point_in_time import FeatureRows, join_as_of, newest, to_utc
from watchline.feature_store.retrieval_job import PolarsRetrievalJob

EVENT_TIME = "event_timestamp"  # Feast's default name of the entity rows' time

Entities = pl.DataFrame | pd.DataFrame | pa.Table


class PolarsOfflineStoreConfig(FeastConfigBaseModel):
    """Section `offline_store` of feature_store.yaml."""

    type: StrictStr = "watchline.feature_store.polars_store.PolarsOfflineStore"


class PolarsOfflineStore(OfflineStore):
    """Point-in-time joins, pulls and appends over Parquet sources, in Polars."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: Entities | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Plan the join of every view's features onto the entity rows.

        Without entity rows, onto each entity that has a row between the dates (default: the longest ttl before the
        end), as of `end_date`. With `filter_by_created_timestamp` a value exists from its creation on. Raises
        ValueError for SQL.
        """
        if entity_df is None:
            entities = _entities_between(config, feature_views, start_date, end_date)
        else:
            entities = _as_polars(entity_df)
        time = _event_time(entities)
        entities = entities.with_columns(to_utc(entities, time))
        oldest, latest = entities[time].min(), entities[time].max()

        def run() -> pl.DataFrame:
            views = [
                _feature_rows(config, view, feature_refs, full_feature_names, (oldest, latest))
                for view in feature_views
            ]
            return join_as_of(entities, time, [replace(v, only_if_created=filter_by_created_timestamp) for v in views])

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
            rows = between(read_source(config, data_source, columns), timestamp_field, start_date, end_date)
            latest = newest(rows, join_key_columns, timestamp_field, created_timestamp_column)
            if not join_key_columns:  # Feast stores such a row under an entity of its own
                return latest.with_columns(pl.lit(DUMMY_ENTITY_VAL).alias(DUMMY_ENTITY_ID))
            return latest.sort(join_key_columns)

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
            return between(read_source(config, data_source, columns), timestamp_field, start_date, end_date)

        return PolarsRetrievalJob(run, config.repo_path)

    @staticmethod
    def offline_write_batch(
        config: RepoConfig, feature_view: FeatureView, table: pa.Table, progress: Callable[[int], Any] | None
    ) -> None:
        """Append rows to the view's source; raises ValueError when columns or types are not those of the source."""
        append_rows(config, _batch_source(feature_view), pl.DataFrame(pl.from_arrow(table)))
        if progress:
            progress(table.num_rows)

    @staticmethod
    def write_logged_features(
        config: RepoConfig,
        data: pa.Table | Path,
        source: LoggingSource,
        logging_config: LoggingConfig,
        registry: BaseRegistry,
    ) -> None:
        """Add logs, a table or a folder of Parquet files, to the destination's folder; the same logs twice count once.

        Raises ValueError for a destination that is not files.
        """
        destination = logging_config.destination
        if not isinstance(destination, FileLoggingDestination):
            raise ValueError(f"{type(destination).__name__}: this store logs to FileLoggingDestination only")
        rows = pl.read_parquet(data) if isinstance(data, Path) else pl.DataFrame(pl.from_arrow(data))
        folder = Path(FileSource.get_uri_for_file_path(config.repo_path, destination.path))
        write_by_content(rows, folder, destination.partition_by or ())


def _as_polars(entity_df: Entities | str | None) -> pl.DataFrame:
    if isinstance(entity_df, pl.DataFrame):
        return entity_df
    if isinstance(entity_df, pd.DataFrame):
        return pl.from_pandas(entity_df)
    if isinstance(entity_df, pa.Table):
        return pl.DataFrame(pl.from_arrow(entity_df))
    kind = "SQL" if isinstance(entity_df, str) else type(entity_df).__name__
    raise ValueError(
        f"entity_df: PolarsOfflineStore takes SQL-free entity inputs, got {kind}; pass the rows as a Polars or pandas "
        "frame or an Arrow table, or start_date and end_date alone"
    )


def _entities_between(
    config: RepoConfig, views: list[FeatureView], start_date: datetime | None, end_date: datetime | None
) -> pl.DataFrame:
    """Each entity with a row in any view's source between the dates, sorted, at `end_date`."""
    start, end = compute_non_entity_date_range(views, start_date, end_date)
    found = []
    for view in views:
        join = _joined_by(view)
        columns = _columns(list(join.keys), [], join.time, None)
        rows = between(read_source(config, _batch_source(view), columns), join.time, start, end)
        found.append(rows.select(pl.col(source).alias(key) for source, key in join.keys.items()).drop_nulls())
    if len({tuple(sorted(keys.columns)) for keys in found}) != 1:
        by_view = ", ".join(f"{view.name} by {keys.columns}" for view, keys in zip(views, found))
        raise ValueError(f"views of one request without entity rows need the same keys ({by_view}); pass entity rows")
    at_end = pl.Series(EVENT_TIME, [end], dtype=TIMESTAMP)
    keys = pl.concat([keys.select(found[0].columns) for keys in found])
    return keys.unique().sort(keys.columns).join(at_end.to_frame(), how="cross") if keys.width else at_end.to_frame()


def _event_time(entities: pl.DataFrame) -> str:
    if EVENT_TIME in entities.columns:
        return EVENT_TIME
    times = [name for name, dtype in entities.schema.items() if isinstance(dtype, pl.Datetime)]
    if len(times) != 1:
        raise ValueError(f"entity_df: name the time column {EVENT_TIME!r}; time columns found: {times or 'none'}")
    return times[0]


@dataclass(frozen=True)
class _JoinedBy:
    """How a view's source joins: `keys` from its columns to the entity rows', other names as the source has them."""

    original: dict[str, str]
    keys: dict[str, str]
    time: str
    created: str | None


def _joined_by(view: FeatureView) -> _JoinedBy:
    source = _batch_source(view)
    original = {new: old for old, new in source.field_mapping.items()}
    keys = [column.name for column in view.entity_columns if column.name != DUMMY_ENTITY_ID]
    created = source.created_timestamp_column
    return _JoinedBy(
        original,
        {original.get(key, key): view.projection.join_key_map.get(key, key) for key in keys},
        original.get(source.timestamp_field, source.timestamp_field),
        original.get(created, created) if created else None,
    )


def _batch_source(view: FeatureView) -> DataSource:
    if view.batch_source is None:
        raise ValueError(f"{view.name}: the feature view has no batch source")
    return view.batch_source


def _feature_rows(
    config: RepoConfig,
    view: FeatureView,
    feature_refs: list[str],
    full_feature_names: bool,
    times: tuple[datetime | None, datetime | None],
) -> FeatureRows:
    join = _joined_by(view)
    name = view.projection.name_to_use()
    alias = view.projection.name_alias or view.name
    wanted = dict.fromkeys(ref.split(":", 1)[1] for ref in feature_refs if ref.split(":", 1)[0] == name)
    features = {join.original.get(feature, feature): feature for feature in wanted}
    columns = _columns(list(join.keys), list(features), join.time, join.created)
    oldest, latest = times
    start = oldest - view.ttl if oldest and view.ttl else None
    return FeatureRows(
        name=view.name,
        frame=between(read_source(config, _batch_source(view), columns), join.time, start, latest),
        keys=join.keys,
        features={source: f"{alias}__{f}" if full_feature_names else f for source, f in features.items()},
        time=join.time,
        created=join.created,
        ttl=view.ttl or None,
    )


def _columns(keys: list[str], features: list[str], time: str, created: str | None) -> list[str]:
    return list(dict.fromkeys([*keys, *features, time, *([created] if created else [])]))
