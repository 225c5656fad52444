"""Writing the feature sources: one folder of daily snapshots per group of statistics, one file per profile."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field, field_validator

from watchline.config import Config
from watchline.data.tables import write_parquet
from watchline.feature_store.profiles import first_tag, user_profiles, video_profiles
from watchline.feature_store.snapshots import GROUPS, TIME, local_day, snapshots, updates

_NEEDED = ["exposure_id", "user_id", "video_id", "exposed_at", "date", "surface", "watch_time_s", "duration_s"]


class FeaturesConfig(Config):
    """Section `features` of params.yaml."""

    windows: list[int] = Field(min_length=1, description="trailing local days of user, video and author statistics")
    pair_windows: list[int] = Field(min_length=1, description="trailing local days of statistics of pairs of entities")
    freshness: Literal["daily", "event"] = Field(
        description="statistics as of the start of the local day, or also after each exposure that is over"
    )
    online_sample: int = Field(ge=0, description="exposures on which offline and online features are compared")
    store: str = Field(
        default="feature_store.yaml",
        pattern=r"^[\w.-]+\.yaml$",
        description="file of features/ that names the offline and the online store",
    )
    label: str = Field(default="watch_time_s", description="amount of an exposure that models learn to predict")

    @field_validator("windows", "pair_windows")
    @classmethod
    def _ascending(cls, windows: list[int]) -> list[int]:
        if windows != sorted(set(windows)) or windows[0] < 1:
            raise ValueError("whole days, at least 1, ascending and distinct")
        return windows


def write_sources(
    exposures: pl.DataFrame,
    users: pl.DataFrame,
    videos: pl.DataFrame,
    days: Sequence[date],
    utc_offset_hours: float,
    config: FeaturesConfig,
    out: Path,
) -> dict[str, int]:
    """Write `out`/NAME/DAY.parquet for every group and day, and the profiles; returns rows per source.

    `exposures` are clean rows of every day of the source, `days` the local days that get a snapshot.
    """
    keyed = exposures.join(
        videos.select("video_id", "author_id", first_tag("tags").alias("topic")),
        on="video_id",
        how="left",
        maintain_order="left",
    )
    windows = {group.name: config.pair_windows if group.pair else config.windows for group in GROUPS}
    rows = dict.fromkeys((group.name for group in GROUPS), 0)
    later = updates(keyed, windows, utc_offset_hours) if config.freshness == "event" else {}
    for day, tables in snapshots(keyed, days, windows, utc_offset_hours):
        for name, table in tables.items():
            if name in later:
                of_day = later[name].filter(local_day(TIME, utc_offset_hours) == day)
                table = pl.concat([table, of_day])
            write_parquet(table, out / name / f"{day.isoformat()}.parquet")
            rows[name] += table.height
    for name, table in (("user_profile", user_profiles(users)), ("video_profile", video_profiles(videos))):
        write_parquet(table, out / f"{name}.parquet")
        rows[name] = table.height
    return rows
