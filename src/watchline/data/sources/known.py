"""Headers of the public datasets, to say what a file is when it is not what was asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable

KUAIRAND_LOG = "a KuaiRand log (log_standard_*.csv, log_random_*.csv)"
KUAIRAND_USERS = "KuaiRand's user table (user_features_*.csv)"
KUAIRAND_VIDEOS = "KuaiRand's video table (video_features_basic_*.csv)"
KUAIREC_MATRIX = "a KuaiRec matrix (big_matrix.csv, small_matrix.csv)"
KUAIREC_USERS = "KuaiRec's user table (user_features.csv)"
KUAIREC_ITEMS = "KuaiRec's item table (item_daily_features.csv)"
KUAIREC_CATEGORIES = "KuaiRec's topics (item_categories.csv)"
CIKM16_QUERIES = "the queries of CIKM Cup 2016 (train-queries.csv)"
CIKM16_VIEWS = "the item views of CIKM Cup 2016 (train-item-views.csv)"

# Columns that together tell a file; the most specific match wins.
HEADERS: dict[str, frozenset[str]] = {
    KUAIRAND_LOG: frozenset({"user_id", "video_id", "time_ms", "play_time_ms", "duration_ms", "tab"}),
    KUAIRAND_USERS: frozenset({"user_id", "user_active_degree", "onehot_feat0"}),
    KUAIRAND_VIDEOS: frozenset({"video_id", "author_id", "upload_dt", "tag"}),
    "KuaiRand's video statistics (video_features_statistic_*.csv)": frozenset({"video_id", "show_cnt", "play_cnt"}),
    KUAIREC_MATRIX: frozenset({"user_id", "video_id", "play_duration", "video_duration", "watch_ratio"}),
    KUAIREC_ITEMS: frozenset({"video_id", "author_id", "video_tag_id"}),
    KUAIREC_CATEGORIES: frozenset({"video_id", "feat"}),
    CIKM16_QUERIES: frozenset({"queryId", "sessionId", "timeframe"}),
    CIKM16_VIEWS: frozenset({"sessionId", "itemId", "timeframe"}),
    "the item views of CIKM Cup 2016 (train-item-views.csv, sample)": frozenset({"session_id", "item_id", "timeframe"}),
}


def recognise(columns: Iterable[str]) -> str | None:
    """Which known file has these columns, whichever separator they were split at; None when no known one does."""
    names = [part.strip().strip('"') for column in columns for part in re.split("[,;]", column)]
    matches = [(len(marks), name) for name, marks in HEADERS.items() if marks <= set(names)]
    return max(matches)[1] if matches else None
