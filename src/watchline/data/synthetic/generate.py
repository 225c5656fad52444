"""One local day of exposures: who, when, on which surface, which video, how long; then the defects of a real log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from watchline.data.schema import EXPOSURES, SORT_KEY
from watchline.data.synthetic.config import SyntheticConfig, day_generator
from watchline.data.synthetic.law import Law
from watchline.data.synthetic.population import PULLS, Population

STREAM_EXPOSURES, STREAM_MOODS, STREAM_COPIES = 3, 4, 5
PART_ROWS = 1 << 18  # drawn at a time
WEEKDAYS = (0.88, 0.87, 0.86, 0.86, 0.97, 1.29, 1.27)  # rows by weekday, Monday first; the mean is 1
NUM_CANDIDATES = 5
TASTE_PULL = 0.4  # how strongly the feed already follows tastes
RANDOM_SHARE = 0.0037  # exposures replaced by a video drawn uniformly
FADE_DAYS = 9.0  # a video's share falls by e in so many days
DUPLICATES = 0.0256  # surplus exact copies, share of rows
LATE_HOUR = 0.166  # rows that the log books under the hour after the one they happened in

MOOD = 0.75  # standard deviation over the days of a user's log rate
PROFILE_STAY_LOGGED = 0.005  # of the visits to a profile, how many the log gives a length

# Suffixes: N rows, X candidate videos of a row, U users, V videos, S surfaces.


@dataclass(frozen=True)
class _Day:
    """What the parts of a day share: who and which videos are there, and how often each is drawn."""

    number: int
    date: date
    user_edges_U: np.ndarray  # cumulative weights
    video_edges_SV: np.ndarray  # cumulative weights by surface
    num_videos: int


def generate_day(config: SyntheticConfig, population: Population, law: Law, day: int) -> pl.DataFrame:
    """Canonical exposures of local day number `day`, sorted. Other days do not enter.

    Rows are drawn PART_ROWS at a time, each part from a stream of its own, so that what a row needs on the way
    (candidate videos, matches) takes the same memory however long the day is.
    """
    local_day = config.first_day + timedelta(days=day)
    rows = max(1, round(config.rows_per_day * WEEKDAYS[local_day.weekday()]))
    copies = round(rows * DUPLICATES * config.defects)
    state = _open_day(config, population, law, day, local_day)
    sizes = _part_sizes(max(1, rows - copies))
    frame = pl.concat([_draw_part(config, population, law, state, part, size) for part, size in enumerate(sizes)])
    copied = np.sort(day_generator(config.seed, STREAM_COPIES, day).integers(0, len(frame), copies))
    return pl.concat([frame, frame[copied]]).sort(SORT_KEY, nulls_last=False)


def _part_sizes(rows: int) -> list[int]:
    whole, rest = divmod(rows, PART_ROWS)
    return [PART_ROWS] * whole + [rest] * (rest > 0)


def _open_day(config: SyntheticConfig, population: Population, law: Law, day: int, local_day: date) -> _Day:
    """Users and videos come in order of arrival: those who are there are the first ones of each table."""
    users = population.users.filter(pl.col("arrival") <= day)
    videos = population.videos.filter(pl.col("arrival") <= day)
    mood_U = day_generator(config.seed, STREAM_MOODS, day).normal(0.0, MOOD, len(users))
    return _Day(
        number=day,
        date=local_day,
        user_edges_U=np.cumsum(users["activity"].to_numpy() * np.exp(mood_U)),
        video_edges_SV=np.cumsum(_video_weights(videos, law, day), axis=1),
        num_videos=len(videos),
    )


def _video_weights(videos: pl.DataFrame, law: Law, day: int) -> np.ndarray:
    """How often each surface draws each video as a candidate: popularity, age, the surface's pulls and topics."""
    age_V = np.maximum(day - videos["uploaded"].to_numpy(), 0)
    weight_V = videos["popularity"].to_numpy() * (0.1 + np.exp(-age_V / FADE_DAYS))
    shown_SV = law.parameters.topic_shown_SK[:, videos["topic"].to_numpy()]
    return weight_V * videos.select(PULLS).to_numpy().T * np.exp(shown_SV)


def _draw_part(
    config: SyntheticConfig, population: Population, law: Law, day: _Day, part: int, count: int
) -> pl.DataFrame:
    generator = day_generator(config.seed, STREAM_EXPOSURES, day.number, part)
    user_N = _draw_weighted(generator, day.user_edges_U, count)
    exposed_at_N, hourmin_N = _draw_times(generator, law, day.date, count)
    surface_N = _draw_surfaces(generator, population.users, law, user_N)
    video_N, is_random_N = _draw_videos(generator, law, day, user_N, surface_N, exposed_at_N)
    watch_s_N = law.sample(user_N, video_N, surface_N, exposed_at_N, generator)
    true_duration_s_N = population.videos["duration_s"].to_numpy()[video_N]
    is_known_N = population.videos["is_duration_known"].to_numpy()[video_N]
    match_N = law.match(user_N, video_N, law.local_days(exposed_at_N))
    columns = {
        "user_id": user_N,
        "video_id": video_N,
        "exposed_at": pl.Series(exposed_at_N).dt.replace_time_zone("UTC"),
        "date": pl.repeat(day.date, count, dtype=pl.Date, eager=True),
        "surface": surface_N,
        "watch_time_s": watch_s_N,
        "duration_s": np.where(is_known_N, true_duration_s_N, 0.0),
        "is_random": is_random_N,
        "logged_hourmin": hourmin_N,
        **_draw_signals(generator, watch_s_N, true_duration_s_N, match_N),
    }
    return pl.DataFrame(columns).select(pl.col(name).cast(kind) for name, kind in EXPOSURES.items())


def _draw_surfaces(generator: np.random.Generator, users: pl.DataFrame, law: Law, user_N: np.ndarray) -> np.ndarray:
    """Each user's home surface, or any for those who are not loyal; the shares over all rows stay those of the law."""
    any_N = generator.choice(len(law.parameters.share_S), len(user_N), p=law.parameters.share_S)
    stays_N = generator.random(len(user_N)) < users["loyalty"].to_numpy()[user_N]
    return np.where(stays_N, users["home_surface"].to_numpy()[user_N], any_N)


def _draw_weighted(generator: np.random.Generator, edges: np.ndarray, shape: int | tuple[int, int]) -> np.ndarray:
    """Indices drawn by the weights whose cumulative sums are `edges`; every weight is above 0."""
    drawn = np.searchsorted(edges, generator.random(shape) * edges[-1], side="right")
    return np.minimum(drawn, len(edges) - 1)


def _draw_times(generator: np.random.Generator, law: Law, local_day: date, count: int) -> tuple[np.ndarray, np.ndarray]:
    """UTC times datetime64[us] to the millisecond, and the hour (HHMM) they are booked under."""
    hour_N = generator.choice(24, count, p=law.parameters.share_H)
    true_hour_N = hour_N - (generator.random(count) < LATE_HOUR) - law.parameters.utc_offset_hours
    milliseconds_N = true_hour_N * 3_600_000 + generator.integers(0, 3_600_000, count)
    return np.datetime64(local_day, "us") + milliseconds_N.astype("timedelta64[ms]"), 100 * hour_N


def _draw_videos(
    generator: np.random.Generator,
    law: Law,
    day: _Day,
    user_N: np.ndarray,
    surface_N: np.ndarray,
    exposed_at_N: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The shown video of each row, and whether it was drawn uniformly instead of by popularity, surface and taste."""
    count, shape_NX = len(user_N), (len(user_N), NUM_CANDIDATES)
    candidate_NX = np.empty(shape_NX, dtype=np.int64)
    for surface, edges_V in enumerate(day.video_edges_SV):
        is_here_N = surface_N == surface
        candidate_NX[is_here_N] = _draw_weighted(generator, edges_V, (int(is_here_N.sum()), NUM_CANDIDATES))
    day_N = law.local_days(exposed_at_N)
    match_NX = law.match(np.repeat(user_N, NUM_CANDIDATES), candidate_NX.ravel(), np.repeat(day_N, NUM_CANDIDATES))
    score_NX = TASTE_PULL * match_NX.reshape(shape_NX) + generator.gumbel(0.0, 1.0, shape_NX)
    video_N = candidate_NX[np.arange(count), np.argmax(score_NX, axis=1)]
    is_random_N = generator.random(count) < RANDOM_SHARE
    return np.where(is_random_N, generator.integers(0, day.num_videos, count), video_N), is_random_N


def _draw_signals(
    generator: np.random.Generator, watch_s_N: np.ndarray, duration_s_N: np.ndarray, match_N: np.ndarray
) -> dict[str, np.ndarray]:
    """What else the user did; rates as in the real log, likelier where the watch was long or the topic fits."""
    count = len(watch_s_N)
    length_s_N = np.minimum(duration_s_N, 18.0)
    watched_N = watch_s_N > 0.0
    liking_N = np.exp(0.8 * match_N) * np.minimum(watch_s_N / length_s_N, 1.0)

    def happens(rate: float) -> np.ndarray:
        return watched_N & (generator.random(count) < np.minimum(rate * liking_N, 1.0))

    def stay_s(median: float, sigma: float) -> np.ndarray:
        return np.rint(1000.0 * median * np.exp(generator.normal(0.0, sigma, count))) / 1000.0

    enters_N, comments_N = happens(0.03), happens(0.004)
    reads_N = comments_N | happens(0.068)
    stays_N = enters_N & (generator.random(count) < PROFILE_STAY_LOGGED)
    return {
        "is_click": watch_s_N > np.minimum(6.0, length_s_N),
        "is_like": happens(0.028),
        "is_follow": happens(0.0021),
        "is_comment": comments_N,
        "is_forward": happens(0.0013),
        "is_hate": watched_N & (generator.random(count) < 0.00084),
        "long_view": watch_s_N >= length_s_N,
        "is_profile_enter": enters_N,
        "profile_stay_s": np.where(stays_N, stay_s(4.2, 1.5), 0.0),
        "comment_stay_s": np.where(reads_N, stay_s(6.1, 0.95), 0.0),
    }
