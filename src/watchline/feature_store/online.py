"""The online store: filled from the newest snapshots, read one request at a time, compared with the offline join."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from feast import FeatureStore, FeatureView
from feast.infra.offline_stores.offline_store import OfflineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import FeastType, Float64, Int64, String

from watchline.feature_store.join import join, request_rows, service_features, utc_offset_hours
from watchline.feature_store.repository import open_store
from watchline.feature_store.snapshots import TIME
from watchline.feature_store.sqlite_store import Row

# Stand for "no author" and "no topic" in an online request, whose keys cannot be null: no entity has them.
_NO_KEY = {"author_id": -1, "topic": ""}


_BATCH = 5_000
_FIELD_OF: dict[FeastType, str] = {Int64: "int64_val", Float64: "double_val", String: "string_val"}


@dataclass(frozen=True)
class Parity:
    """Offline and online features of the same requests, value by value."""

    rows: int
    values: int
    equal: int
    differing: dict[str, int]  # feature -> values that differ

    @property
    def share(self) -> float:
        """Share of equal values, 1 when there are none."""
        return self.equal / self.values if self.values else 1.0


def materialise(store: FeatureStore, moment: datetime) -> dict[str, int]:
    """Empty the online store and fill it with what holds at `moment` (UTC); returns rows per view.

    The same rows as `store.materialize` of each view's last ttl, in a third of its time: values become protobuf by
    column and type, not by inspection of each. Rows that have expired by then stay out: reading applies no ttl.
    """
    provider: Any = store._get_provider()
    views = store.list_feature_views()
    provider.online_store.teardown(store.config, views, [])
    provider.online_store.update(store.config, [], views, [], [], False)
    rows = {}
    with _collector_off():
        for view in views:
            frame = _newest(store, provider.offline_store, view, moment)
            for batch in frame.iter_slices(_BATCH):
                provider.online_store.online_write_batch(store.config, view, _entity_rows(view, batch), None)
            rows[view.name] = len(frame)
    return rows


@contextlib.contextmanager
def _collector_off() -> Iterator[None]:
    """No garbage collection: looking for cycles among millions of small values, which have none, doubles the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _newest(store: FeatureStore, offline: OfflineStore, view: FeatureView, moment: datetime) -> pl.DataFrame:
    source = view.batch_source
    job = offline.pull_latest_from_table_or_query(
        config=store.config,
        data_source=source,
        join_key_columns=view.join_keys,
        feature_name_columns=[feature.name for feature in view.features],
        timestamp_field=source.timestamp_field,
        created_timestamp_column=source.created_timestamp_column or None,
        start_date=moment - view.ttl if view.ttl else datetime(1970, 1, 1, tzinfo=UTC),
        end_date=moment,
    )
    return pl.DataFrame(pl.from_arrow(job.to_arrow())).rename({source.timestamp_field: TIME})


def _entity_rows(view: FeatureView, frame: pl.DataFrame) -> list[Row]:
    columns = {field.name: _values(frame[field.name], field.dtype) for field in [*view.entity_columns, *view.features]}
    keys = view.join_keys
    names = [feature.name for feature in view.features]
    entity_keys = (EntityKey(join_keys=keys, entity_values=row) for row in zip(*(columns[key] for key in keys)))
    features = (dict(zip(names, row)) for row in zip(*(columns[name] for name in names)))
    return [(key, row, time, None) for key, row, time in zip(entity_keys, features, frame[TIME])]


def _values(column: pl.Series, dtype: FeastType) -> list[Value]:
    if dtype not in _FIELD_OF:
        raise ValueError(f"{column.name}: no online form for {dtype}; there are {', '.join(map(str, _FIELD_OF))}")
    field, null = _FIELD_OF[dtype], Value()
    return [null if value is None else Value(**{field: value}) for value in column]


def online_features(repo: Path, features_dir: Path, requests: pl.DataFrame) -> pl.DataFrame:
    """`requests` with the features the online store has now; same columns and order as `historical_features`."""
    with open_store(repo, features_dir, keep_state=True) as store:
        return read(store, requests, utc_offset_hours(features_dir))


def read(store: FeatureStore, requests: pl.DataFrame, offset_hours: float) -> pl.DataFrame:
    """As `online_features`, on an open store: two reads, the second with the author and topic the first one gave."""
    keys = request_rows(requests, offset_hours).drop("exposed_at")
    first = store.get_online_features(
        store.get_feature_service("exposure_keys", allow_cache=True), _columns(keys.select("video_id"))
    ).to_dict()
    reached = {
        name: pl.Series(first[name], dtype=dtype) for name, dtype in (("author_id", pl.Int64), ("topic", pl.String))
    }
    keyed = keys.with_columns(**reached).with_columns(pl.col(name).fill_null(key) for name, key in _NO_KEY.items())
    service = store.get_feature_service("watch_time", allow_cache=True)
    second = store.get_online_features(service, _columns(keyed)).to_dict()
    features = {name: pl.Series(second[name], strict=False) for name in service_features(store, "watch_time")}
    return requests.with_columns(**reached, **features)


def compare(store: FeatureStore, exposures: pl.DataFrame, moment: datetime, offset_hours: float) -> Parity:
    """Ask both stores for the exposures' keys as if requested at `moment`, for which the online store was filled."""
    requests = exposures.select("user_id", "video_id", "surface", pl.lit(moment).alias("exposed_at"))
    offline, online = join(store, requests, offset_hours), read(store, requests, offset_hours)
    features = [name for name in offline.columns if name not in requests.columns]
    differing = {}
    for name in features:
        values = online[name].cast(offline.schema[name])
        differing[name] = int((~offline[name].eq_missing(values)).sum())
    values = len(requests) * len(features)
    return Parity(len(requests), values, values - sum(differing.values()), {k: n for k, n in differing.items() if n})


def evenly(exposures: pl.DataFrame, rows: int) -> pl.DataFrame:
    """About `rows` exposures spread evenly over the table, the same ones each time."""
    return exposures.gather_every(max(1, len(exposures) // rows)).head(rows) if rows else exposures.clear()


def _columns(frame: pl.DataFrame) -> dict[str, Any]:
    return frame.to_dict(as_series=False)
