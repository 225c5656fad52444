"""A stand-in for the feature store, whose own tests are elsewhere: each id's values on its first logged row."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from tests.helpers.small_models import WINDOW
from watchline.data.tables import read_days


def joined(repo: Path, features_dir: Path, candidates: pl.DataFrame) -> pl.DataFrame:
    """`candidates` with the feature columns of the generated table; takes what `historical_features` takes."""
    table = read_days(features_dir / "table", WINDOW.split_days("train"))
    of_user = ["active_degree", "is_lowactive", "user_exposures_7d", "user_watch_mean_7d"]
    of_video = ["author_id", "duration_s", "video_age_days", "video_watch_mean_7d"]
    users = table.select("user_id", *of_user).unique("user_id", keep="first", maintain_order=True)
    videos = table.select("video_id", *of_video).unique("video_id", keep="first", maintain_order=True)
    local = candidates.with_columns(
        pl.col("exposed_at").dt.hour().cast(pl.Int64).alias("hour"),
        pl.col("exposed_at").dt.weekday().cast(pl.Int64).alias("weekday"),
    )
    for part, key in ((users, "user_id"), (videos, "video_id")):
        local = local.join(part, on=key, how="left", maintain_order="left")
    return local
