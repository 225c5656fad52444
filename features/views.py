"""Every feature's definition: statistics of the trailing days, profiles, and the context of a request.

The columns of the statistics come from their source (`{entity}_{statistic}_{window}`, see
src/watchline/feature_store/groups.py): the windows are a parameter of the features stage.
"""

from datetime import timedelta

import pandas as pd
from entities import author, surface, topic, user, video
from feast import Entity, FeatureView, Field, FileSource, RequestSource
from feast.data_format import ParquetFormat
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String

SOURCES = "../data/features/sources"
TIME = "event_timestamp"


def daily_statistics(name: str, *entities: Entity) -> FeatureView:
    """A snapshot of a day holds for that day: an entity without history has no row, and its features are null."""
    return FeatureView(
        name=name,
        entities=list(entities),
        ttl=timedelta(days=1),
        source=FileSource(
            name=f"{name}_source", path=f"{SOURCES}/{name}", file_format=ParquetFormat(), timestamp_field=TIME
        ),
    )


def profile(name: str, file: str, entity: Entity, fields: dict) -> FeatureView:
    """Slowly changing facts, known at any time: they never expire."""
    return FeatureView(
        name=name,
        entities=[entity],
        ttl=timedelta(0),
        schema=[Field(name=column, dtype=dtype) for column, dtype in fields.items()],
        source=FileSource(name=f"{name}_source", path=f"{SOURCES}/{file}", timestamp_field=TIME),
    )


user_stats = daily_statistics("user_stats", user)
video_stats = daily_statistics("video_stats", video)
author_stats = daily_statistics("author_stats", author)
user_surface_stats = daily_statistics("user_surface_stats", user, surface)
video_surface_stats = daily_statistics("video_surface_stats", video, surface)
user_author_stats = daily_statistics("user_author_stats", user, author)
user_topic_stats = daily_statistics("user_topic_stats", user, topic)

user_profile = profile(
    "user_profile",
    "user_profile.parquet",
    user,
    {
        "user_id": Int64,
        "active_degree": String,
        "is_lowactive": Int64,
        "is_live_streamer": Int64,
        "is_video_author": Int64,
        "follow_count": Int64,
        "fans_count": Int64,
        "friend_count": Int64,
        "register_days": Int64,
        **{f"segment_{i}": Int64 for i in range(18)},
    },
)

video_keys = profile(
    "video_keys", "video_profile.parquet", video, {"video_id": Int64, "author_id": Int64, "topic": String}
)

video_profile = profile(
    "video_profile",
    "video_profile.parquet",
    video,
    {
        "video_id": Int64,
        "video_type": String,
        "upload_type": String,
        "music_id": Int64,
        "music_type": Int64,
        "width": Int64,
        "height": Int64,
        "duration_s": Float64,
        "uploaded_day": Int64,
    },
)

# Seconds since 1970-01-01 00:00 on the source's local clock.
request = RequestSource(name="request", schema=[Field(name="local_time_s", dtype=Int64)])


@on_demand_feature_view(
    sources=[video_profile[["uploaded_day"]], request],
    schema=[
        Field(name="hour", dtype=Int64),
        Field(name="weekday", dtype=Int64),
        Field(name="video_age_days", dtype=Float64),
    ],
)
def exposure_context(inputs: pd.DataFrame) -> pd.DataFrame:
    """Local hour (0 to 23), ISO weekday (1 = Monday) and the video's age in days at the request."""
    day = inputs["local_time_s"] // 86_400
    return pd.DataFrame(
        {
            "hour": inputs["local_time_s"] // 3_600 % 24,
            "weekday": (day + 3) % 7 + 1,
            "video_age_days": (day - inputs["uploaded_day"]).astype("float64"),
        }
    )
