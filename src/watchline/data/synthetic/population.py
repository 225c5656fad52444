"""Users and videos in cohorts by the day they arrive: what the law needs to know and what the tables show.

Cohort 0 is there on the first day; cohort k arrives on day k and depends on nothing that comes after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl

from watchline.data.synthetic.config import SyntheticConfig, day_generator
from watchline.data.synthetic.law import TASTES
from watchline.data.synthetic.parameters import (
    CLUSTER_SHARES,
    NUM_CLUSTERS,
    NUM_TOPICS,
    PATIENCE,
    QUALITY,
    SKIP_SPREAD,
    SURFACES,
    surface_shares,
)
from watchline.data.synthetic.profiles import user_profile, video_profile

STREAM_USERS, STREAM_VIDEOS = 1, 2

# Per row of an average day: who is there at first, and who arrives each day.
FIRST_USERS, NEW_USERS = 1.38, 0.010
FIRST_VIDEOS, NEW_VIDEOS = 0.33, 0.008
DENSE_ROWS = 20_000  # a day; above it half of the growth is more people, half longer histories of each (square root)
ACTIVITY = 0.78  # standard deviation of users' log rates
UNKNOWN_DURATION = 0.032  # share of videos whose duration the source does not know; their exposures log 0
# Log popularity of a video is POPULARITY * z - POPULARITY_BEND * z^2 of a standard normal z: a tail lighter than
# lognormal. Parts of z: the author's fame, the video's quality, its own luck.
POPULARITY, POPULARITY_BEND = 1.8, 0.15
FAME_PARTS = (0.40, 0.25, 0.88)
# Log popularity also grows with the square of log duration over the median's: extremes are shown more.
LENGTH_POPULARITY, MEDIAN_S = 0.12, 85.0
# Surface 0 pulls videos of one to three minutes more than others: height, centre and width in log seconds.
LENGTH_PULL = (0.75, 4.6, 0.5)
STRAY_PULL = 0.002  # of a video that a surface is not for
# Durations in seconds at levels of their distribution over videos, log-linear between them.
DURATION_LEVELS = (0.0, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 1.0)
DURATIONS_S = (5.0, 10.7, 14.6, 32.0, 81.2, 148.2, 237.9, 303.5, 510.1, 1180.0)
PULLS = [f"pull_{s}" for s in range(len(SURFACES))]


@dataclass(frozen=True)
class Population:
    """`users` and `videos`: one row each, hidden state, how often they are drawn, and the visible columns."""

    users: pl.DataFrame
    videos: pl.DataFrame


def draw_population(config: SyntheticConfig) -> Population:
    """Everyone who appears on the config's days; ids are 0, 1, 2, ... in order of arrival."""
    users, videos, authors = [], [], np.empty((0, 2 + NUM_TOPICS))
    num_users = num_videos = 0
    for day in range(config.days):
        user_generator = day_generator(config.seed, STREAM_USERS, day)
        video_generator = day_generator(config.seed, STREAM_VIDEOS, day)
        users.append(_draw_users(user_generator, config, day, num_users))
        authors = np.concatenate([authors, _draw_authors(video_generator, config, day)])
        videos.append(_draw_videos(video_generator, config, day, num_videos, authors))
        num_users, num_videos = num_users + len(users[-1]), num_videos + len(videos[-1])
    return Population(pl.concat(users), pl.concat(videos))


def _cohort_size(config: SyntheticConfig, day: int, first: float, new: float) -> int:
    rows = config.rows_per_day
    scale = rows if rows <= DENSE_ROWS else np.sqrt(rows * DENSE_ROWS)
    return max(1 if day else 12, round(scale * (new if day else first)))


def _draw_users(generator: np.random.Generator, config: SyntheticConfig, day: int, first_id: int) -> pl.DataFrame:
    count = _cohort_size(config, day, FIRST_USERS, NEW_USERS)
    cluster = generator.choice(NUM_CLUSTERS, count, p=CLUSTER_SHARES)
    patience = generator.normal(0.0, PATIENCE, count)
    tastes_UK = generator.normal(0.0, 0.22, (count, NUM_TOPICS))
    state = {
        "user_id": np.arange(first_id, first_id + count),
        "arrival": np.full(count, day),
        "activity": np.exp(generator.normal(0.0, ACTIVITY, count)),
        "patience": patience,
        "home_surface": generator.choice(len(SURFACES), count, p=surface_shares()),
        "loyalty": generator.uniform(0.1, 0.9, count),
        "zero_logit": generator.normal(0.0, 0.5, count),
        "skip_logit": generator.normal(0.0, SKIP_SPREAD, count),
        "cluster": cluster,
        **dict(zip(TASTES, tastes_UK.T, strict=True)),
    }
    return pl.DataFrame(state | user_profile(generator, state, defects=config.defects))


def _draw_authors(generator: np.random.Generator, config: SyntheticConfig, day: int) -> np.ndarray:
    """Quality, fame and log-weights of topics of the authors who arrive on `day`, (A, 2 + K)."""
    count = max(1 if day else 8, round(0.3 * _cohort_size(config, day, FIRST_VIDEOS, NEW_VIDEOS)))
    part = QUALITY * np.sqrt(0.5)
    quality_fame_A2 = np.column_stack([generator.normal(0.0, part, count), generator.normal(0.0, 1.0, count)])
    return np.column_stack([quality_fame_A2, generator.normal(0.0, 1.4, (count, NUM_TOPICS))])


def _draw_videos(
    generator: np.random.Generator, config: SyntheticConfig, day: int, first_id: int, authors: np.ndarray
) -> pl.DataFrame:
    count = _cohort_size(config, day, FIRST_VIDEOS, NEW_VIDEOS)
    author = generator.integers(0, len(authors), count)
    topics_VK = authors[author, 2:] + generator.gumbel(0.0, 1.0, (count, NUM_TOPICS))
    ranked_VK = np.argsort(-topics_VK, axis=1, kind="stable")
    quality = authors[author, 0] + generator.normal(0.0, QUALITY * np.sqrt(0.5), count)
    of_author, of_quality, own = FAME_PARTS
    fame = of_author * authors[author, 1] + of_quality * quality / QUALITY + own * generator.normal(0.0, 1.0, count)
    has_second = generator.random(count) < 0.35
    age = np.floor(generator.exponential(6.0, count)) if day == 0 else np.zeros(count)
    is_known = generator.random(count) >= UNKNOWN_DURATION * config.defects
    duration_s = _draw_durations(generator, count)
    state = {
        "video_id": np.arange(first_id, first_id + count),
        "arrival": np.full(count, day),
        "uploaded": day - age.astype(np.int64),
        "popularity": np.where(is_known, 1.0, 0.5) * _popularity(fame, duration_s),
        "duration_s": np.rint(duration_s * 1000.0) / 1000.0,
        "quality": quality,
        "topic": ranked_VK[:, 0],
        "second_topic": ranked_VK[:, 1],
        "second_weight": np.where(has_second, 0.35, 0.0),
        "is_duration_known": is_known,
        "author_id": author,
        **_draw_pulls(generator, duration_s),
    }
    uploaded_on = [config.first_day + timedelta(days=int(d)) for d in state["uploaded"]]
    return pl.DataFrame(state | video_profile(generator, state, uploaded_on, defects=config.defects))


def _popularity(fame: np.ndarray, duration_s: np.ndarray) -> np.ndarray:
    """How often a video is a candidate, in proportion; `fame` is standard normal."""
    log_length = np.clip(np.log(duration_s / MEDIAN_S), -2.0, 2.0)
    return np.exp(POPULARITY * fame - POPULARITY_BEND * fame**2 + LENGTH_POPULARITY * log_length**2)


def _draw_pulls(generator: np.random.Generator, duration_s: np.ndarray) -> dict[str, np.ndarray]:
    """How many times as often each surface shows a video as its popularity says, a column a surface."""
    is_for_S = np.array(SURFACES)[:, 4]
    pull_VS = np.where(generator.random((len(duration_s), len(is_for_S))) < is_for_S, 1.0, STRAY_PULL)
    height, centre, width = LENGTH_PULL
    pull_VS[:, 0] *= np.exp(height * np.exp(-0.5 * ((np.log(duration_s) - centre) / width) ** 2))
    return dict(zip(PULLS, pull_VS.T, strict=True))


def _draw_durations(generator: np.random.Generator, count: int) -> np.ndarray:
    return np.exp(np.interp(generator.random(count), DURATION_LEVELS, np.log(DURATIONS_S)))
