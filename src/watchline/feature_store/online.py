"""The online store: read one request at a time, and compared with the offline join."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
from feast import FeatureStore

from watchline.feature_store.join import join, request_rows, service_features, utc_offset_hours
from watchline.feature_store.repository import open_store

# Stand for a missing key in an online request, whose keys cannot be null: no entity has them.
_NO_ID = -(2**63)
_NO_KEY = {"author_id": _NO_ID, "topic": "", "surface": _NO_ID}


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
    """Ask both stores for the exposures' keys as if requested at `moment`, for which the online store was filled.

    No exposures are no values: neither store is asked.
    """
    if exposures.is_empty():
        return Parity(0, 0, 0, {})
    requests = exposures.select("user_id", "video_id", "surface", pl.lit(moment).alias("exposed_at"))
    offline, online = join(store, requests, offset_hours), read(store, requests, offset_hours)
    features = [name for name in offline.columns if name not in requests.columns]
    differing = {}
    for name in features:
        values = online[name].cast(offline.schema[name])
        differing[name] = int((~offline[name].eq_missing(values)).sum())
    values = len(requests) * len(features)
    return Parity(len(requests), values, values - sum(differing.values()), {k: n for k, n in differing.items() if n})


def _columns(frame: pl.DataFrame) -> dict[str, Any]:
    return frame.to_dict(as_series=False)
