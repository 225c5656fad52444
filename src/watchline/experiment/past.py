"""What users watched before the test: for their expectations, for CUPED, and for the plan."""

# N sessions, U users

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

from watchline.data.splits import Window
from watchline.data.tables import days_on_disk, read_days
from watchline.experiment.config import AbtestConfig

PRIOR = 10.0  # exposures that everyone's count for in what a user expects


def read_past(table_dir: Path, window: Window, config: AbtestConfig) -> pl.DataFrame:
    """user, video, date and watch time of the days that candidates and CUPED look back on, and of the eval days."""
    first, last = window.ranges["eval"]
    earliest = first - timedelta(days=max(config.pre_period_days, config.catalogue_days))
    days = [day for day in days_on_disk(table_dir) if earliest <= day <= last]
    return read_days(table_dir, days, ["user_id", "video_id", "date", "watch_time_s"])


def pre_period(past: pl.DataFrame, window: Window, config: AbtestConfig) -> pl.DataFrame:
    """The rows of `past` of the `pre_period_days` before the first eval day."""
    first = window.ranges["eval"][0]
    since = first - timedelta(days=config.pre_period_days)
    return past.filter(pl.col("date").is_between(since, first, closed="left"))


def expected_watch_s(user_id: np.ndarray, exposures: pl.DataFrame) -> np.ndarray:
    """What each user (N,) expects of an exposure, seconds: a typical one of earlier `exposures`, drawn to everyone's.

    expm1 of (sum of the user's log1p + PRIOR * mean of all) / (their number + PRIOR), so that half of what users watch
    is about as long as they expect; a user who was not there expects what all do.
    """
    logs = exposures.select("user_id", pl.col("watch_time_s").log1p())
    overall = float(logs["watch_time_s"].sort().to_numpy().mean()) if len(logs) else 0.0
    sums = logs.group_by("user_id").agg(pl.col("watch_time_s").sort().sum().alias("total"), pl.len())
    known = pl.DataFrame({"user_id": user_id}).join(sums, on="user_id", how="left", maintain_order="left")
    total, count = (known[name].fill_null(0).to_numpy() for name in ("total", "len"))
    return np.expm1((total + PRIOR * overall) / (count + PRIOR))


def watch_by_user(users: np.ndarray, exposures: pl.DataFrame) -> np.ndarray:
    """Watch time of each user (U,) in `exposures`, seconds; 0 for a user who is not there."""
    totals = exposures.group_by("user_id").agg(pl.col("watch_time_s").sort().sum())
    joined = pl.DataFrame({"user_id": users}).join(totals, on="user_id", how="left", maintain_order="left")
    return joined["watch_time_s"].fill_null(0.0).to_numpy()
