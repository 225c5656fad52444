"""What a model asks for: `exposure_keys` first (it turns a video into its author and topic), then `watch_time`."""

from feast import FeatureService
from views import (
    author_stats,
    exposure_context,
    user_author_stats,
    user_profile,
    user_stats,
    user_surface_stats,
    user_topic_stats,
    video_keys,
    video_profile,
    video_stats,
    video_surface_stats,
)

exposure_keys = FeatureService(name="exposure_keys", features=[video_keys])

watch_time = FeatureService(
    name="watch_time",
    features=[
        exposure_context,
        user_profile,
        video_profile[["video_type", "upload_type", "music_id", "music_type", "width", "height", "duration_s"]],
        user_stats,
        video_stats,
        author_stats,
        user_surface_stats,
        video_surface_stats,
        user_author_stats,
        user_topic_stats,
    ],
)
