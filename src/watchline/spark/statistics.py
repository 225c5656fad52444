"""Daily statistics on Spark: the snapshots of `feature_store.snapshots`, computed entity by entity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import polars as pl
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from watchline.data.schema import EXPOSURES, SORT_KEY
from watchline.feature_store.snapshots import GROUPS, Group
from watchline.feature_store.snapshots import snapshots as in_polars
from watchline.spark.kernels import grouped

_KEYS: dict[str, type[pl.DataType]] = {"author_id": pl.Int64, "topic": pl.String}  # reached through the video
NEEDED = ("user_id", "video_id", "surface", "exposed_at", "date", "watch_time_s", "duration_s")
_ORDER = [name for name in SORT_KEY if name in NEEDED]


def keyed(exposures: DataFrame, videos: DataFrame) -> DataFrame:
    """Exposures with the author and topic of their video; `videos` has `video_id`, `author_id` and `topic`."""
    return exposures.select(*NEEDED).join(sf.broadcast(videos.select("video_id", *_KEYS)), on="video_id", how="left")


def snapshots(
    exposures: DataFrame,
    days: Sequence[date],
    windows: Mapping[str, Sequence[int]],
    utc_offset_hours: float,
    buckets: int,
) -> Iterator[tuple[date, dict[str, DataFrame]]]:
    """As `feature_store.snapshots.snapshots`, on Spark and in no order; `exposures` are those of `keyed`.

    The rows of an entity come together in one of `buckets` sets. Values equal the Polars ones up to the order in which
    a mean's values are added: 1e-12 of the value.
    """
    for day in days:
        past = exposures.where(sf.col("date") < sf.lit(day))
        yield day, {group.name: _of_group(past, group, day, windows, utc_offset_hours, buckets) for group in GROUPS}


def _of_group(
    past: DataFrame,
    group: Group,
    day: date,
    windows: Mapping[str, Sequence[int]],
    utc_offset_hours: float,
    buckets: int,
) -> DataFrame:
    windows = dict(windows)

    def kernel(rows: pl.DataFrame) -> pl.DataFrame:
        ordered = rows.sort(_ORDER)
        return next(in_polars(ordered, [day], windows, utc_offset_hours))[1][group.name]

    empty = pl.DataFrame(schema={name: EXPOSURES[name] for name in NEEDED} | _KEYS)
    known = past.dropna(subset=list(group.keys)).select(*empty.columns)
    return grouped(known, list(group.keys), buckets, kernel, kernel(empty).schema)
