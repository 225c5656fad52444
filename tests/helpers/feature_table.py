"""A small feature table of generated rows, in the layout of the features stage, for tests of what reads it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from watchline.data.columns import Columns
from watchline.data.schema import TIMESTAMP
from watchline.data.tables import day_path, write_parquet

COLUMNS = Columns(
    label="watch_time_s",
    keys=("exposure_id", "user_id", "video_id", "exposed_at", "date", "is_random"),
    categorical=("user_id", "video_id", "author_id", "surface", "hour", "weekday", "active_degree", "is_lowactive"),
    numeric=("duration_s", "video_age_days", "user_exposures_7d", "user_watch_mean_7d", "video_watch_mean_7d"),
)


def write_feature_table(
    directory: Path,
    *,
    days: int = 6,
    rows_per_day: int = 200,
    num_users: int = 40,
    num_videos: int = 60,
    seed: int = 0,
    first_day: date = date(2024, 3, 1),
) -> Columns:
    """Write `table/` (one file per day) and schema.json into `directory`; a day's rows depend on seed and day alone.

    Watch time follows the user's patience, the video's appeal and its duration; one row in ten is a zero.
    """
    for i in range(days):
        day = first_day + timedelta(days=i)
        table = day_rows(day, rows_per_day, num_users, num_videos, seed)
        write_parquet(table, day_path(directory / "table", day))
    schema = {
        "label": COLUMNS.label,
        "keys": list(COLUMNS.keys),
        "categorical": list(COLUMNS.categorical),
        "numeric": list(COLUMNS.numeric),
    }
    (directory / "schema.json").write_text(json.dumps(schema, indent=2, sort_keys=True) + "\n")
    return COLUMNS


def day_rows(day: date, num_rows: int, num_users: int, num_videos: int, seed: int) -> pl.DataFrame:
    """The rows of one day, sorted by time."""
    world = np.random.default_rng(seed)
    patience = world.normal(0.0, 0.7, num_users)
    appeal = world.normal(0.0, 0.7, num_videos)
    duration_s = np.round(np.exp(world.normal(3.0, 0.6, num_videos)), 3)
    rng = np.random.default_rng([seed, day.toordinal()])
    user, video = rng.integers(0, num_users, num_rows), rng.integers(0, num_videos, num_rows)
    micros = np.sort(rng.integers(0, 86_400_000_000, num_rows))
    watch_s = duration_s[video] * np.exp(patience[user] + appeal[video] - 0.5 + rng.normal(0.0, 0.4, num_rows))
    watch_s = np.where(rng.random(num_rows) < 0.1, 0.0, np.round(watch_s, 3))
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    table = pl.DataFrame(
        {
            "exposure_id": (day.year * 10_000 + day.month * 100 + day.day) * 10**9 + np.arange(num_rows),
            "user_id": user + 1,
            "video_id": video + 1,
            "exposed_at": pl.Series(micros).cast(pl.Duration("us")) + midnight,
            "date": pl.Series([day] * num_rows, dtype=pl.Date),
            "is_random": rng.random(num_rows) < 0.1,
            "watch_time_s": watch_s,
            "author_id": video % 17 + 1,
            "surface": rng.integers(0, 3, num_rows),
            "hour": micros // 3_600_000_000,
            "weekday": np.full(num_rows, day.isoweekday()),
            "active_degree": np.array(["full_active", "high_active", "middle_active"])[user % 3],
            "is_lowactive": user % 5 == 0,
            "duration_s": duration_s[video],
            "video_age_days": rng.integers(0, 400, num_rows),
            "user_exposures_7d": rng.poisson(30, num_rows),
            "user_watch_mean_7d": np.exp(patience[user] + 2.5 + rng.normal(0.0, 0.2, num_rows)),
            "video_watch_mean_7d": np.exp(appeal[video] + 2.5 + rng.normal(0.0, 0.2, num_rows)),
        }
    )
    unknown = pl.Series("unknown", rng.random(num_rows) < 0.05)
    return table.with_columns(
        pl.col("exposed_at").cast(TIMESTAMP),
        pl.when(~unknown).then(pl.col("user_watch_mean_7d")),
        pl.when(~unknown).then(pl.col("active_degree")),
    )
