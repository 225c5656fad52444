"""Profiles of users and videos as feature sources: the canonical tables with codes in place of flags and lists."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from watchline.data.schema import TIMESTAMP, USERS
from watchline.feature_store.snapshots import TIME

# Profiles carry no time of their own: they count as known from the start of time.
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)


def user_profiles(users: pl.DataFrame) -> pl.DataFrame:
    """One row per user, flags as 0 and 1."""
    flags = [name for name, dtype in USERS.items() if dtype == pl.Boolean]
    return _dated(users.with_columns(pl.col(flags).cast(pl.Int64)), "user_id")


def video_profiles(videos: pl.DataFrame) -> pl.DataFrame:
    """One row per video: `topic` is its first tag, `uploaded_day` the days from 1970-01-01 to its upload."""
    profiles = videos.select(
        "video_id",
        "author_id",
        first_tag("tags").alias("topic"),
        "video_type",
        "upload_type",
        "music_id",
        "music_type",
        "width",
        "height",
        "duration_s",
        pl.col("uploaded_on").cast(pl.Int32).cast(pl.Int64).alias("uploaded_day"),
    )
    return _dated(profiles, "video_id")


def first_tag(column: str) -> pl.Expr:
    """The first of a comma-separated list, null when there is none."""
    tag = pl.col(column).str.split(",").list.first().str.strip_chars()
    return pl.when(tag.str.len_bytes() > 0).then(tag)


def _dated(profiles: pl.DataFrame, key: str) -> pl.DataFrame:
    return profiles.with_columns(pl.lit(ALWAYS).cast(TIMESTAMP).alias(TIME)).sort(key)
