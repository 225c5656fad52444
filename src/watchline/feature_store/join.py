"""Features of exposures as of their moment, through Feast: the same call for training tables and simulated requests."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import polars as pl
from feast import FeatureStore

from watchline.feature_store.point_in_time import to_utc
from watchline.feature_store.polars_store import EVENT_TIME, PolarsOfflineStoreConfig
from watchline.feature_store.repository import open_store
from watchline.feature_store.retrieval_job import PolarsRetrievalJob

REQUEST = ("user_id", "video_id", "surface", "exposed_at")  # what a request must bring
_LOCAL = "local_time_s"
_ROW = "__row"


class JoinError(ValueError):
    """The offline store lost, added or reordered rows; the message gives the counts."""


def historical_features(repo: Path, features_dir: Path, exposures: pl.DataFrame) -> pl.DataFrame:
    """`exposures` with every feature of the `watch_time` service as of `exposed_at`: same rows, same order.

    `exposures` needs REQUEST; its other columns pass through. `features_dir` is the features stage's output. Nothing
    that happened at `exposed_at` or later enters. Raises ValueError when a column is missing or named like a feature.
    """
    with open_store(repo, features_dir) as store:
        return join(store, exposures, utc_offset_hours(features_dir))


def utc_offset_hours(features_dir: Path) -> float:
    """Hours that the source's local clock is ahead of UTC, as the features stage wrote them into schema.json."""
    path = features_dir / "schema.json"
    if not path.is_file():
        raise ValueError(f"{path}: no such file; run `dvc repro features`")
    return float(json.loads(path.read_text())["utc_offset_hours"])


def join(store: FeatureStore, exposures: pl.DataFrame, offset_hours: float) -> pl.DataFrame:
    """As `historical_features`, on an open store."""
    request = request_rows(exposures, offset_hours).rename({"exposed_at": EVENT_TIME})
    keyed = _run(store, request, "exposure_keys")
    table = _run(store, keyed, "watch_time")
    _check_same_rows(request, table)
    wanted = ["author_id", "topic", *service_features(store, "watch_time")]
    clash = sorted(set(wanted) & set(exposures.columns))
    if clash:
        raise ValueError(f"the exposures already have {', '.join(clash)}; drop what the feature store gives")
    return exposures.hstack(table.select(wanted))


def request_rows(exposures: pl.DataFrame, offset_hours: float) -> pl.DataFrame:
    """Keys, time and local clock of each exposure; raises ValueError naming the columns that are missing."""
    missing = [column for column in REQUEST if column not in exposures.columns]
    if missing:
        raise ValueError(f"the exposures lack {', '.join(missing)}; a request has {', '.join(REQUEST)}")
    local = pl.col("exposed_at") + timedelta(hours=offset_hours)
    return exposures.select(*REQUEST, (local.dt.epoch("s")).alias(_LOCAL))


def _check_same_rows(request: pl.DataFrame, table: pl.DataFrame) -> None:
    if len(table) != len(request):
        raise JoinError(f"{len(request):,} rows went into the feature join, {len(table):,} came out")
    for column in request.columns:
        changed = (request[column] != table[column]).sum()
        if changed:
            raise JoinError(
                f"the feature join changed {column} in {changed:,} of {len(request):,} rows: order not kept"
            )


def service_features(store: FeatureStore, service: str) -> list[str]:
    """Names of the features a service gives, in its order."""
    projections = store.get_feature_service(service).feature_view_projections
    return [feature.name for projection in projections for feature in projection.features]


def _run(store: FeatureStore, entities: pl.DataFrame, service: str) -> pl.DataFrame:
    """The service's features of each entity row, in order, whatever the offline store."""
    features = store.get_feature_service(service)
    if isinstance(store.config.offline_store, PolarsOfflineStoreConfig):
        # Feast hands entity rows through to its offline store as they are: Polars in, Polars out.
        return cast(PolarsRetrievalJob, store.get_historical_features(cast(Any, entities), features)).to_polars()
    numbered = entities.with_row_index(_ROW).to_pandas()
    table = pl.DataFrame(pl.from_arrow(store.get_historical_features(numbered, features).to_arrow()))
    table = table.sort(_ROW).drop(_ROW)
    table = table.with_columns(to_utc(table, EVENT_TIME))  # Spark's has no zone
    # Through pandas, keys that can be null come back as floats.
    return table.cast({name: dtype for name, dtype in entities.schema.items() if name != EVENT_TIME})
