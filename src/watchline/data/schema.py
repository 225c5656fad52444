"""The canonical tables every source fills and every later stage reads.

Tables are Parquet. `exposures` has one file per local day, `exposures/date=YYYY-MM-DD/part-0.parquet`, sorted by
SORT_KEY; `users.parquet` and `videos.parquet` are sorted by their id. Times are UTC, `date` is the source's local day,
durations are seconds. A column that a source cannot fill is null in every row.
"""

from __future__ import annotations

import polars as pl

TIMESTAMP = pl.Datetime("us", "UTC")

# Signals are what else the user did at the exposure; they are known only afterwards and are never features.
SIGNALS = {
    "is_click": pl.Boolean,
    "is_like": pl.Boolean,
    "is_follow": pl.Boolean,
    "is_comment": pl.Boolean,
    "is_forward": pl.Boolean,
    "is_hate": pl.Boolean,
    "long_view": pl.Boolean,
    "is_profile_enter": pl.Boolean,
    "profile_stay_s": pl.Float64,
    "comment_stay_s": pl.Float64,
}

EXPOSURES: dict[str, pl.DataType | type[pl.DataType]] = {
    "user_id": pl.Int64,
    "video_id": pl.Int64,
    "exposed_at": TIMESTAMP,
    "date": pl.Date,
    "surface": pl.Int64,
    "watch_time_s": pl.Float64,
    "duration_s": pl.Float64,
    "is_random": pl.Boolean,
    "logged_hourmin": pl.Int64,  # local HHMM as the log says; it can disagree with exposed_at: no feature
    **SIGNALS,
}

# What validate adds to clean rows: YYYYMMDD * 10**9 + position within the day, so a new day renumbers no other.
EXPOSURE_ID = "exposure_id"

SORT_KEY = [
    "exposed_at",
    "user_id",
    "video_id",
    "surface",
    "watch_time_s",
    "duration_s",
    "is_random",
    "logged_hourmin",
    *SIGNALS,
]

SEGMENTS = [f"segment_{i}" for i in range(18)]  # anonymised categorical user codes

USERS: dict[str, pl.DataType | type[pl.DataType]] = {
    "user_id": pl.Int64,
    "active_degree": pl.String,
    "is_lowactive": pl.Boolean,
    "is_live_streamer": pl.Boolean,
    "is_video_author": pl.Boolean,
    "follow_count": pl.Int64,
    "fans_count": pl.Int64,
    "friend_count": pl.Int64,
    "register_days": pl.Int64,
    **dict.fromkeys(SEGMENTS, pl.Int64),
}

VIDEOS: dict[str, pl.DataType | type[pl.DataType]] = {
    "video_id": pl.Int64,
    "author_id": pl.Int64,
    "video_type": pl.String,
    "uploaded_on": pl.Date,
    "upload_type": pl.String,
    "is_visible": pl.Boolean,
    "duration_s": pl.Float64,
    "width": pl.Int64,
    "height": pl.Int64,
    "music_id": pl.Int64,
    "music_type": pl.Int64,
    "tags": pl.String,  # comma-separated topic ids, as the source gives them
}
