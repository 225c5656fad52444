"""The visible columns of users and videos: some tell of the hidden state, most do not; nulls as in the real tables."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl

from watchline.data.schema import SEGMENTS
from watchline.data.synthetic.parameters import PATIENCE, SKIP_SPREAD

# Number of values of the anonymised codes, as in the real user table; 1, 9 and 10 tell of hidden state.
SEGMENT_SIZES = (2, 7, 50, 1471, 16, 34, 3, 118, 454, 7, 5, 5, 2, 2, 2, 2, 2, 2)
SEGMENT_NULLS = {4: 0.032, **dict.fromkeys(range(12, 18), 0.026)}
DEGREES = ["full_active", "high_active", "middle_active", "low_active"]
UPLOAD_TYPES = ["LongImport", "Web", "ShortImport", "Kmovie", "PictureSet", "ShortCamera", "LongCamera"]
UPLOAD_SHARES = [0.39, 0.32, 0.12, 0.12, 0.03, 0.01, 0.01]


def user_profile(generator: np.random.Generator, state: dict[str, np.ndarray], defects: float) -> dict[str, Any]:
    """Visible columns of one cohort of users, in a fixed order of draws."""
    count = len(state["user_id"])
    is_new = state["arrival"] > 0
    register_days = np.where(
        is_new, generator.integers(0, 15, count), 15 + generator.gamma(2.2, 520.0, count).astype(int)
    )
    columns: dict[str, Any] = {
        "active_degree": _degree(generator, state["activity"], is_new, defects),
        "is_lowactive": np.zeros(count, dtype=bool),
        "is_live_streamer": _with_nulls(generator, generator.random(count) < 0.98, 0.774 * defects),
        "is_video_author": generator.random(count) < 0.816,
        "follow_count": _count(generator, count, 155.0, 1.6, 5003),
        "fans_count": _count(generator, count, 48.0, 2.1, 2_000_000),
        "friend_count": _count(generator, count, 16.0, 2.0, 4995),
        "register_days": register_days,
    }
    return columns | _segments(generator, state, defects)


def _degree(generator: np.random.Generator, activity: np.ndarray, is_new: np.ndarray, defects: float) -> pl.Series:
    noisy = np.log(activity) + generator.normal(0.0, 0.5, len(activity))
    level = np.searchsorted(np.array([-1.9, -1.1, -0.35]), noisy)
    names = np.where(is_new, "2_14_day_new", np.array(DEGREES[::-1])[level])
    unknown = generator.random(len(activity)) < 0.0002 * defects
    return pl.Series(
        [None if gone else name for name, gone in zip(names.tolist(), unknown, strict=True)], dtype=pl.String
    )


def _segments(generator: np.random.Generator, state: dict[str, np.ndarray], defects: float) -> dict[str, pl.Series]:
    count = len(state["user_id"])
    columns = {}
    for i, (name, size) in enumerate(zip(SEGMENTS, SEGMENT_SIZES, strict=True)):
        values = np.minimum(generator.geometric(min(0.6, 3.0 / size), count) - 1, size - 1)
        if i == 1:  # the user's cluster, wrong for one in eight
            values = np.where(generator.random(count) < 0.875, state["cluster"], values)
        if i == 9:  # patience in seven levels, blurred
            values = _levels(state["patience"] / PATIENCE + generator.normal(0.0, 0.7, count), size)
        if i == 10:  # readiness to skip in five levels, blurred
            values = _levels(state["skip_logit"] / SKIP_SPREAD + generator.normal(0.0, 0.7, count), size)
        columns[name] = _with_nulls(generator, values, SEGMENT_NULLS.get(i, 0.0) * defects)
    return columns


def video_profile(
    generator: np.random.Generator, state: dict[str, np.ndarray], uploaded_on: list[date], defects: float
) -> dict[str, Any]:
    """Visible columns of one cohort of videos, in a fixed order of draws."""
    count = len(state["video_id"])
    shape = generator.choice(4, count, p=[0.62, 0.18, 0.14, 0.06])
    first = [str(k + 1) for k in state["topic"]]
    second = [f",{k + 1}" if w > 0 else "" for k, w in zip(state["second_topic"], state["second_weight"], strict=True)]
    untagged = generator.random(count) < 0.013 * defects
    upload_type = np.array(UPLOAD_TYPES)[generator.choice(len(UPLOAD_TYPES), count, p=UPLOAD_SHARES)]
    tags = [None if gone else a + b for a, b, gone in zip(first, second, untagged, strict=True)]
    return {
        "video_type": np.where(generator.random(count) < 0.01, "AD", "NORMAL"),
        "uploaded_on": uploaded_on,
        "upload_type": _with_nulls(generator, upload_type, 0.0105 * defects),
        "is_visible": np.ones(count, dtype=bool),
        "shown_duration_s": pl.Series(state["duration_s"]).set(pl.Series(~state["is_duration_known"]), None),
        "width": np.array([720, 1280, 720, 1080])[shape],
        "height": np.array([1280, 720, 960, 1440])[shape],
        "music_id": generator.integers(9_141_000_000, 9_170_000_000, count),
        "music_type": _with_nulls(
            generator, generator.choice([9, 4, 8, 7], count, p=[0.9, 0.09, 0.007, 0.003]), 0.027 * defects
        ),
        "tags": pl.Series(tags, dtype=pl.String),
    }


def _count(generator: np.random.Generator, count: int, median: float, sigma: float, cap: int) -> np.ndarray:
    return np.minimum(np.floor(median * np.exp(generator.normal(0.0, sigma, count))), cap).astype(np.int64)


def _levels(standard: np.ndarray, size: int) -> np.ndarray:
    return np.clip(np.floor(standard + size / 2.0), 0, size - 1).astype(np.int64)


def _with_nulls(generator: np.random.Generator, values: np.ndarray, rate: float) -> pl.Series:
    nulls = pl.Series(generator.random(len(values)) < rate)
    return pl.Series(values).set(nulls, None)
