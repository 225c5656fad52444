"""One local day of exposures: who, when, on which surface, which video, how long; then the defects of a real log."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from watchline.data.schema import EXPOSURES, SORT_KEY
from watchline.data.synthetic.config import SyntheticConfig, day_generator
from watchline.data.synthetic.law import Law
from watchline.data.synthetic.population import Population

STREAM_EXPOSURES = 3
WEEKDAYS = (0.88, 0.87, 0.86, 0.86, 0.97, 1.29, 1.27)  # rows by weekday, Monday first; the mean is 1
NUM_CANDIDATES = 5
TASTE_PULL = 0.4  # how strongly the feed already follows tastes
RANDOM_SHARE = 0.0037  # exposures replaced by a video drawn uniformly
FADE_DAYS = 9.0  # a video's share falls by e in so many days
DUPLICATES = 0.0256  # surplus exact copies, share of rows
LATE_HOUR = 0.166  # rows that the log books under the hour after the one they happened in

# Suffixes: N rows, X candidate videos of a row.


def generate_day(config: SyntheticConfig, population: Population, law: Law, day: int) -> pl.DataFrame:
    """Canonical exposures of local day number `day`, sorted. Other days do not enter."""
    generator = day_generator(config.seed, STREAM_EXPOSURES, day)
    local_day = config.first_day + timedelta(days=day)
    rows = max(1, round(config.rows_per_day * WEEKDAYS[local_day.weekday()]))
    copies = round(rows * DUPLICATES * config.defects)
    frame = _draw_exposures(generator, population, law, local_day, day, max(1, rows - copies))
    frame = frame.with_columns(*_signals(generator, frame))
    copied = np.sort(generator.integers(0, len(frame), copies))
    frame = pl.concat([frame, frame[copied]])
    return frame.select(pl.col(name).cast(kind) for name, kind in EXPOSURES.items()).sort(SORT_KEY, nulls_last=False)


def _draw_exposures(
    generator: np.random.Generator, population: Population, law: Law, local_day: date, day: int, count: int
) -> pl.DataFrame:
    user_N = _draw_weighted(generator, _user_weights(population.users, day), count)
    exposed_at_N, hourmin_N = _draw_times(generator, law, local_day, count)
    surface_N = _draw_surfaces(generator, population.users, law, user_N)
    video_N, is_random_N = _draw_videos(generator, population.videos, law, day, user_N, surface_N, exposed_at_N)
    watch_s_N = law.sample(user_N, video_N, surface_N, exposed_at_N, generator)
    videos = population.videos
    duration_s_N = np.where(videos["is_duration_known"], videos["duration_s"], 0.0)[video_N]
    return pl.DataFrame(
        {
            "user_id": user_N,
            "video_id": video_N,
            "exposed_at": pl.Series(exposed_at_N).dt.replace_time_zone("UTC"),
            "date": pl.repeat(local_day, count, dtype=pl.Date, eager=True),
            "surface": surface_N,
            "watch_time_s": watch_s_N,
            "duration_s": duration_s_N,
            "is_random": is_random_N,
            "logged_hourmin": hourmin_N,
            "match": law.match(user_N, video_N, law.local_days(exposed_at_N)),
            "true_duration_s": videos["duration_s"].to_numpy()[video_N],
        }
    )


def _draw_surfaces(generator: np.random.Generator, users: pl.DataFrame, law: Law, user_N: np.ndarray) -> np.ndarray:
    """Each user's home surface, or any for those who are not loyal; the shares over all rows stay those of the law."""
    any_N = generator.choice(len(law.parameters.share_S), len(user_N), p=law.parameters.share_S)
    stays_N = generator.random(len(user_N)) < users["loyalty"].to_numpy()[user_N]
    return np.where(stays_N, users["home_surface"].to_numpy()[user_N], any_N)


def _user_weights(users: pl.DataFrame, day: int) -> np.ndarray:
    return np.where(users["arrival"].to_numpy() <= day, users["activity"].to_numpy(), 0.0)


def _draw_weighted(generator: np.random.Generator, weights: np.ndarray, count: int) -> np.ndarray:
    edges = np.cumsum(weights)
    drawn = np.searchsorted(edges, generator.random(count) * edges[-1], side="right")
    return np.minimum(drawn, int(np.flatnonzero(weights)[-1]))


def _draw_times(generator: np.random.Generator, law: Law, local_day: date, count: int) -> tuple[np.ndarray, np.ndarray]:
    """UTC times datetime64[us] to the millisecond, and the hour (HHMM) they are booked under."""
    hour_N = generator.choice(24, count, p=law.parameters.share_H)
    true_hour_N = hour_N - (generator.random(count) < LATE_HOUR) - law.parameters.utc_offset_hours
    milliseconds_N = true_hour_N * 3_600_000 + generator.integers(0, 3_600_000, count)
    return np.datetime64(local_day, "us") + milliseconds_N.astype("timedelta64[ms]"), 100 * hour_N


def _draw_videos(
    generator: np.random.Generator,
    videos: pl.DataFrame,
    law: Law,
    day: int,
    user_N: np.ndarray,
    surface_N: np.ndarray,
    exposed_at_N: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The shown video of each row, and whether it was drawn uniformly instead of by popularity, surface and taste."""
    is_there = videos["arrival"].to_numpy() <= day
    age = np.maximum(day - videos["uploaded"].to_numpy(), 0)
    weights = np.where(is_there, videos["popularity"].to_numpy() * (0.1 + np.exp(-age / FADE_DAYS)), 0.0)
    count, shape_NX = len(user_N), (len(user_N), NUM_CANDIDATES)
    candidate_NX = _draw_weighted(generator, weights, count * NUM_CANDIDATES).reshape(shape_NX)
    day_N = law.local_days(exposed_at_N)
    match_NX = law.match(np.repeat(user_N, NUM_CANDIDATES), candidate_NX.ravel(), np.repeat(day_N, NUM_CANDIDATES))
    shown_NX = law.parameters.topic_shown_SK[surface_N[:, None], videos["topic"].to_numpy()[candidate_NX]]
    score_NX = TASTE_PULL * match_NX.reshape(shape_NX) + shown_NX + generator.gumbel(0.0, 1.0, shape_NX)
    video_N = candidate_NX[np.arange(count), np.argmax(score_NX, axis=1)]
    is_random_N = generator.random(count) < RANDOM_SHARE
    uniform_N = generator.choice(np.flatnonzero(is_there), count)
    return np.where(is_random_N, uniform_N, video_N), is_random_N


def _signals(generator: np.random.Generator, frame: pl.DataFrame) -> list[pl.Series]:
    """What else the user did; rates as in the real log, likelier where the watch was long or the topic fits."""
    watch_s = frame["watch_time_s"].to_numpy()
    length_s = np.minimum(frame["true_duration_s"].to_numpy(), 18.0)
    watched = watch_s > 0.0
    liking = np.exp(0.8 * frame["match"].to_numpy()) * np.minimum(watch_s / length_s, 1.0)

    def happens(rate: float) -> np.ndarray:
        return watched & (generator.random(len(watch_s)) < np.minimum(rate * liking, 1.0))

    enters, comments = happens(0.03), happens(0.004)
    stays_ms = {
        name: np.rint(1000.0 * generator.exponential(mean, len(watch_s))) for name, mean in (("p", 8.0), ("c", 9.0))
    }
    reads_comments = comments | happens(0.06)
    columns = {
        "is_click": watch_s > np.minimum(6.0, length_s),
        "is_like": happens(0.028),
        "is_follow": happens(0.0021),
        "is_comment": comments,
        "is_forward": happens(0.0013),
        "is_hate": watched & (generator.random(len(watch_s)) < 0.00084),
        "long_view": watch_s >= length_s,
        "is_profile_enter": enters,
        "profile_stay_s": np.where(enters, stays_ms["p"], 0.0) / 1000.0,
        "comment_stay_s": np.where(reads_comments, stays_ms["c"], 0.0) / 1000.0,
    }
    return [pl.Series(name, values) for name, values in columns.items()]
