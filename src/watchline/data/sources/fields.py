"""Constructors of the fields that sources share: name in the file, canonical column, how to read it."""

from __future__ import annotations

from watchline.data.schema import SEGMENTS
from watchline.data.sources import parsing
from watchline.data.sources.delimited import Field


def whole(name: str, target: str | None = None, required: bool = False) -> Field:
    """A whole number."""
    return Field(name, target or name, parsing.whole, "a whole number", required)


def flag(name: str, target: str | None = None, required: bool = False) -> Field:
    """0 or 1."""
    return Field(name, target or name, parsing.flag, "0 or 1", required)


def seconds(name: str, target: str, required: bool = False) -> Field:
    """Milliseconds in the file, seconds in the table."""
    return Field(name, target, parsing.seconds_from_ms, "a number of milliseconds", required)


def text(name: str, target: str | None = None) -> Field:
    """As it stands."""
    return Field(name, target or name, parsing.text, "text")


# user_features of KuaiRand and of KuaiRec.
KUAISHOU_USER_FIELDS = (
    whole("user_id", required=True),
    text("user_active_degree", "active_degree"),
    flag("is_lowactive_period", "is_lowactive"),
    flag("is_live_streamer"),
    flag("is_video_author"),
    whole("follow_user_num", "follow_count"),
    whole("fans_user_num", "fans_count"),
    whole("friend_user_num", "friend_count"),
    whole("register_days"),
    *(whole(f"onehot_feat{i}", name) for i, name in enumerate(SEGMENTS)),
)
