"""What an exposure log looks like in numbers: watch time by duration, zeros, loops, spreads, drift, who and when.

Every summary is one number computed the same way from any canonical tables, so that two logs can be set side by side.
Unless it says otherwise it is of distinct rows with a known duration.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

# Of videos, seconds: upper edge of each class but the last.
DURATION_EDGES_S = (15.0, 30.0, 60.0, 120.0, 180.0)
DURATION_CLASSES = ("to 15 s", "15 to 30 s", "30 to 60 s", "60 to 120 s", "120 to 180 s", "over 180 s")
LARGE_SURFACES = (0, 1, 2, 4, 6)  # with 2 % of the rows or more
WEEK = 7

WATCH, DURATION = pl.col("watch_time_s"), pl.col("duration_s")
LOG_WATCH = pl.when(WATCH > 0).then(WATCH.log())
IS_ZERO = (WATCH == 0).cast(pl.Float64)


@dataclass(frozen=True)
class Summary:
    """One number of a log; `scales` where it moves with the number of rows or days, so only like sizes compare."""

    group: str
    name: str
    value: float
    scales: bool = False


def summarize(
    exposures: pl.DataFrame, users: pl.DataFrame, videos: pl.DataFrame, utc_offset_hours: int
) -> list[Summary]:
    """All summaries of one log, in a fixed order; the tables are canonical (watchline.data.schema)."""
    rows = clean_rows(exposures)
    return [
        *_watch_time(rows),
        *_zeros(rows),
        *_loops(rows),
        *_spread(rows, "user_id", "users"),
        *_spread(rows, "video_id", "videos"),
        *_surfaces(rows),
        *_days(exposures, rows),
        *_hours(rows, utc_offset_hours),
        *_tables(exposures, users, videos),
        *_signals(rows),
    ]


def clean_rows(exposures: pl.DataFrame) -> pl.DataFrame:
    """Distinct rows with a known duration, and log_watch (null for 0 s), zero (0 or 1) and bucket of the duration."""
    bucket = sum(((pl.lit(edge) < DURATION).cast(pl.Int64) for edge in DURATION_EDGES_S), start=pl.lit(0))
    rows = exposures.unique(maintain_order=True).filter(DURATION > 0)
    return rows.with_columns(log_watch=LOG_WATCH, zero=IS_ZERO, bucket=bucket)


def _by_class(rows: pl.DataFrame, statistic: pl.Expr) -> Iterator[tuple[str, float]]:
    for bucket, value in rows.group_by("bucket").agg(statistic.alias("value")).sort("bucket").iter_rows():
        yield DURATION_CLASSES[bucket], value


def _watch_time(rows: pl.DataFrame) -> Iterator[Summary]:
    group = "watch time"
    yield Summary(group, "mean, s", _of(rows, WATCH.mean()))
    for level in (0.25, 0.5, 0.75, 0.9, 0.99):
        yield Summary(group, f"quantile {level}, s", _of(rows, WATCH.quantile(level)))
    yield Summary(group, "mean of log seconds above 0", _of(rows, pl.col("log_watch").mean()))
    yield Summary(group, "deviation of log seconds above 0", _of(rows, pl.col("log_watch").std()))
    for level in (0.25, 0.5, 0.75, 0.9):
        for bucket, value in _by_class(rows.filter(WATCH > 0), WATCH.quantile(level)):
            yield Summary("watch time by duration", f"quantile {level} above 0, {bucket}, s", value)
    for bucket, value in _by_class(rows, WATCH.mean()):
        yield Summary("watch time by duration", f"mean, {bucket}, s", value)


def _zeros(rows: pl.DataFrame) -> Iterator[Summary]:
    yield Summary("zeros", "share of plays", _of(rows, pl.col("zero").mean()))
    for surface in (0, 1, 4):
        yield Summary("zeros", f"share on surface {surface}", _of(_on(rows, surface), pl.col("zero").mean()))
    for name, part in (("to 60 s", DURATION <= 60), ("over 60 s", DURATION > 60)):
        yield Summary("zeros", f"share of videos {name}", _of(rows.filter(part), pl.col("zero").mean()))


def _loops(rows: pl.DataFrame) -> Iterator[Summary]:
    for name, share in (
        ("longer than the video", WATCH > DURATION),
        ("twice as long", WATCH > 2 * DURATION),
        ("five times as long", WATCH > 5 * DURATION),
        ("nine tenths of the video or more", WATCH >= 0.9 * DURATION),
        ("within 5 % of the duration", (WATCH / DURATION).is_between(0.95, 1.05)),
    ):
        yield Summary("loops and ends", f"share {name}", _of(rows, share.mean()))
    for bucket, value in _by_class(rows, (WATCH > DURATION).mean()):
        yield Summary("loops and ends", f"share longer than the video, {bucket}", value)


def _spread(rows: pl.DataFrame, key: str, group: str) -> Iterator[Summary]:
    in_all = rows.group_by(key).len()["len"]
    by_day = rows.group_by(key, "date").len()["len"]
    days = rows.group_by(key).agg(pl.col("date").n_unique())["date"]
    yield Summary(group, "seen, a row", len(in_all) / len(rows), scales=True)
    yield Summary(group, "rows each, coefficient of variation", float(in_all.std() / in_all.mean()), scales=True)
    yield Summary(group, "rows each, quantile 0.9", float(in_all.quantile(0.9)), scales=True)
    yield Summary(group, "days seen, mean", float(days.mean()), scales=True)
    yield Summary(group, "rows a day of those seen, mean", float(by_day.mean()), scales=True)
    yield Summary(
        group, "rows a day of those seen, coefficient of variation", float(by_day.std() / by_day.mean()), scales=True
    )
    played = rows.filter(WATCH > 0)
    between, within = deviations(played[key].to_numpy(), played["log_watch"].to_numpy())
    yield Summary(group, "deviation of mean log watch between them", between)
    yield Summary(group, "deviation of log watch within them", within)
    yield Summary(group, "share of variance between them", between**2 / (between**2 + within**2))
    between, _ = deviations(rows[key].to_numpy(), rows["zero"].to_numpy())
    yield Summary(group, "deviation of share of zeros between them", between)
    near, far = (np.mean([persistence(rows, key, lag) for lag in lags]) for lags in ((1, 2, 3), (6, 7, 8)))
    yield Summary("day drift", f"level of {group} kept after five days more", float(far / near))


def _surfaces(rows: pl.DataFrame) -> Iterator[Summary]:
    for surface in LARGE_SURFACES:
        yield Summary("surfaces", f"share of surface {surface}", _of(rows, (pl.col("surface") == surface).mean()))
    for surface in LARGE_SURFACES:
        played = _on(rows, surface).filter(WATCH > 0)
        yield Summary("surfaces", f"mean above 0 on surface {surface}, s", _of(played, WATCH.mean()))
        yield Summary("surfaces", f"median above 0 on surface {surface}, s", _of(played, WATCH.median()))


def _days(exposures: pl.DataFrame, rows: pl.DataFrame) -> Iterator[Summary]:
    first_week = exposures.filter(pl.col("date") < pl.col("date").min().dt.offset_by(f"{WEEK}d"))
    counts = first_week.group_by(weekend=pl.col("date").dt.weekday() >= 6).len().sort("weekend")["len"]
    yield Summary("day drift", "rows of a weekend day to a weekday", (counts[1] / 2) / (counts[0] / 5))
    of_day = rows.group_by("date").agg(pl.col("log_watch").mean(), WATCH.mean())
    yield Summary("day drift", "deviation over days of mean log watch", float(of_day["log_watch"].std()))


def _hours(rows: pl.DataFrame, utc_offset_hours: int) -> Iterator[Summary]:
    hour = pl.col("exposed_at").dt.offset_by(f"{utc_offset_hours}h").dt.hour()
    for first in range(0, 24, 4):
        share = _of(rows, hour.is_between(first, first + 3).mean())
        yield Summary("hours", f"share of rows, {first} to {first + 4} o'clock", share)


def _tables(exposures: pl.DataFrame, users: pl.DataFrame, videos: pl.DataFrame) -> Iterator[Summary]:
    of_rows = exposures.filter(DURATION > 0)["duration_s"]
    for level in (0.1, 0.25, 0.5, 0.75, 0.9):
        yield Summary("durations", f"quantile {level} of videos, s", float(videos["duration_s"].quantile(level)))
        yield Summary("durations", f"quantile {level} of rows, s", float(of_rows.quantile(level)))
    yield Summary("defects", "share of rows that repeat another", 1 - exposures.n_unique() / len(exposures))
    yield Summary("defects", "share of rows without a duration", _of(exposures, (DURATION == 0).mean()))
    for table, names in (
        (users, ("is_live_streamer", "segment_4", "segment_12")),
        (videos, ("duration_s", "music_type")),
    ):
        for name in names:
            yield Summary("defects", f"share without {name}", table[name].null_count() / len(table))


def _signals(rows: pl.DataFrame) -> Iterator[Summary]:
    for name in ("is_click", "long_view", "is_like", "is_profile_enter", "comment_stay_s"):
        yield Summary("signals", f"mean of {name}", _of(rows, pl.col(name).mean()))


def _of(rows: pl.DataFrame, statistic: pl.Expr) -> float:
    return float(rows.select(statistic.alias("value"))["value"][0])


def _on(rows: pl.DataFrame, surface: int) -> pl.DataFrame:
    return rows.filter(pl.col("surface") == surface)


def deviations(key_N: np.ndarray, value_N: np.ndarray) -> tuple[float, float]:
    """Standard deviations between and within groups, by the analysis of variance with unequal group sizes.

    The between part is (MS between - MS within) / n0 (Searle, Casella, McCulloch, Variance Components, 1992, ch. 3);
    it is 0 where the sample has it negative.
    """
    _, group_N, count_G = np.unique(key_N, return_inverse=True, return_counts=True)
    mean_G = np.bincount(group_N, value_N) / count_G
    rows, groups = len(value_N), len(count_G)
    within = ((value_N - mean_G[group_N]) ** 2).sum() / (rows - groups)
    between = (count_G * (mean_G - value_N.mean()) ** 2).sum() / (groups - 1)
    size = (rows - (count_G**2).sum() / rows) / (groups - 1)
    return float(np.sqrt(max((between - within) / size, 0.0))), float(np.sqrt(within))


def persistence(rows: pl.DataFrame, key: str, lag: int) -> float:
    """Covariance of each one's mean log watch of a day with that of `lag` days later; surfaces are centred first.

    The noise of the two days is independent, so it drops out. Pairs of days weigh as much as the smaller one has rows.
    """
    centred = pl.col("log_watch") - pl.col("log_watch").mean().over("surface")
    daily = rows.filter(WATCH > 0).with_columns(y=centred).group_by(key, "date").agg(pl.col("y").mean(), count=pl.len())
    later = daily.with_columns(pl.col("date").dt.offset_by(f"-{lag}d"))
    pairs = daily.join(later, on=[key, "date"])
    weight = pl.min_horizontal("count", "count_right")
    return _of(pairs, (weight * pl.col("y") * pl.col("y_right")).sum() / weight.sum())
