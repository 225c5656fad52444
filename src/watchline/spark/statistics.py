"""Daily statistics on Spark: what every day adds to the mergeable sums of `feature_store.sums`, entity by entity."""

from __future__ import annotations

import polars as pl
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from watchline.data.schema import EXPOSURES
from watchline.feature_store import sums
from watchline.feature_store.groups import GROUPS, Group
from watchline.feature_store.snapshots import known_at, local_day
from watchline.spark.kernels import grouped

_KEYS: dict[str, type[pl.DataType]] = {"author_id": pl.Int64, "topic": pl.String}  # reached through the video
NEEDED = ("user_id", "video_id", "surface", "exposed_at", "date", "watch_time_s", "duration_s")
DAY = "known_day"


def keyed(exposures: DataFrame, videos: DataFrame) -> DataFrame:
    """Exposures with the author and topic of their video; `videos` has `video_id`, `author_id` and `topic`."""
    return exposures.select(*NEEDED).join(sf.broadcast(videos.select("video_id", *_KEYS)), on="video_id", how="left")


def sums_by_day(exposures: DataFrame, utc_offset_hours: float, buckets: int) -> dict[str, DataFrame]:
    """Per group its keys, DAY (when the exposures became known) and `sums`, a list of integers; in no order.

    `exposures` are those of `keyed`; the rows of an entity come together in one of `buckets` sets. Integers add up to
    the same in any order, so the result equals that of Polars.
    """
    return {group.name: _of_group(exposures, group, utc_offset_hours, buckets) for group in GROUPS}


def in_polars(rows: pl.DataFrame, group: Group, utc_offset_hours: float) -> pl.DataFrame:
    """The same of rows in memory, sorted by DAY and keys."""
    known = rows.with_columns(known_at(utc_offset_hours).alias("__known"))
    known = known.with_columns(local_day("__known", utc_offset_hours).alias(DAY))
    table = sums.Added(known).by_entity([DAY, *group.keys], group.binned).to_frame()
    return table.with_columns(pl.col("sums").arr.to_list())


def _of_group(exposures: DataFrame, group: Group, utc_offset_hours: float, buckets: int) -> DataFrame:
    empty = pl.DataFrame(schema={name: EXPOSURES[name] for name in NEEDED} | _KEYS)
    known = exposures.dropna(subset=list(group.keys)).select(*empty.columns)
    schema = in_polars(empty, group, utc_offset_hours).schema
    return grouped(known, list(group.keys), buckets, lambda rows: in_polars(rows, group, utc_offset_hours), schema)
