"""Statistics of every entity's exposures on the trailing days: snapshots at the start of each local day, and updates.

A snapshot of day D describes what was over before D began, so it is what a model may know at any moment of D. Each
day's snapshot is computed from the rows of the longest trailing window alone: a new day costs a day. Updates follow
each exposure: the freshest there can be, for stores that are fed by a stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from watchline.data.schema import TIMESTAMP

TIME = "event_timestamp"  # when a snapshot becomes known: the start of its local day

# Long plays are cut before they are averaged: one day-long play would move an entity's mean for a week.
_CAP_S = 600.0
_CAP_RATIO = 5.0

_KNOWN = "known_at"

_WATCH = pl.col("watch_time_s")

# What is kept of an entity's exposures in one trailing window; the median fits MAE, the mean of log1p fits ranking.
STATISTICS: dict[str, pl.Expr] = {
    "exposures": pl.len().cast(pl.Int64),
    "watch_mean": _WATCH.clip(upper_bound=_CAP_S).mean(),
    "watch_median": _WATCH.median(),
    "log_mean": _WATCH.log1p().mean(),
    "ratio_mean": (_WATCH / pl.col("duration_s")).clip(upper_bound=_CAP_RATIO).mean(),
    "skip_rate": (_WATCH == 0).mean(),
    "completion_rate": (pl.col("duration_s") <= _WATCH).mean(),
}


@dataclass(frozen=True)
class Group:
    """An entity, or a pair of entities, that statistics are kept for. Columns are `{prefix}_{statistic}_{days}d`."""

    name: str
    keys: tuple[str, ...]
    prefix: str
    pair: bool = False


# name = Feast view = folder under sources/
GROUPS = (
    Group("user_stats", ("user_id",), "user"),
    Group("video_stats", ("video_id",), "video"),
    Group("author_stats", ("author_id",), "author"),
    Group("user_surface_stats", ("user_id", "surface"), "user_surface", pair=True),
    Group("video_surface_stats", ("video_id", "surface"), "video_surface", pair=True),
    Group("user_topic_stats", ("user_id", "topic"), "user_topic", pair=True),
)


def known_at(utc_offset_hours: float) -> pl.Expr:
    """When an exposure is over and its watch time known, never before its `date` begins.

    A source's days can follow another clock than its timestamps (KuaiRand rounds the hour up): what is dated to a day
    must not be known on the day before, or splits by `date` would leak.
    """
    watched = (pl.col("watch_time_s") * 1_000_000).ceil().cast(pl.Int64).cast(pl.Duration("us"))
    begins = pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC") - timedelta(hours=utc_offset_hours)
    return pl.max_horizontal(pl.col("exposed_at") + watched, begins)


def local_day(moment: str, utc_offset_hours: float) -> pl.Expr:
    """Local day of a column of UTC times."""
    return (pl.col(moment) + timedelta(hours=utc_offset_hours)).dt.date()


def start_of_day(day: date, utc_offset_hours: float) -> datetime:
    """The moment a local day begins, UTC."""
    return datetime.combine(day, time(), UTC) - timedelta(hours=utc_offset_hours)


def snapshots(
    exposures: pl.DataFrame, days: Sequence[date], windows: dict[str, Sequence[int]], utc_offset_hours: float
) -> Iterator[tuple[date, dict[str, pl.DataFrame]]]:
    """For each of `days` a table per group: keys, TIME and statistics, sorted by key.

    `exposures` needs the keys of every group, `exposed_at`, `date`, `watch_time_s`, `duration_s`; `windows` gives the
    trailing days of each group by name. An entity has a row on each day that has history in its longest window.
    """
    rows = _known(exposures, utc_offset_hours)
    longest = max(max(of_group) for of_group in windows.values())
    for day in days:
        age = (pl.lit(day) - local_day(_KNOWN, utc_offset_hours)).dt.total_days()
        history = rows.with_columns(age.alias("age")).filter(pl.col("age").is_between(1, longest))
        moment = pl.lit(start_of_day(day, utc_offset_hours)).cast(TIMESTAMP)
        yield day, {group.name: _of_group(history, group, windows[group.name], moment) for group in GROUPS}


def updates(
    exposures: pl.DataFrame, windows: dict[str, Sequence[int]], utc_offset_hours: float
) -> dict[str, pl.DataFrame]:
    """Per group the statistics as they are after each exposure is over, in the columns of `snapshots`.

    A row's TIME is a microsecond after the exposure became known: a join as of that very moment does not see it. The
    trailing windows are of 24 hours a day and end at the exposure. Sorted by TIME, then key.
    """
    rows = _known(exposures, utc_offset_hours).sort(_KNOWN, maintain_order=True)
    return {group.name: _updates_of_group(rows, group, windows[group.name]) for group in GROUPS}


def _known(exposures: pl.DataFrame, utc_offset_hours: float) -> pl.DataFrame:
    return exposures.with_columns(known_at(utc_offset_hours).cast(TIMESTAMP).alias(_KNOWN))


def _statistics(group: Group, window: int) -> list[pl.Expr]:
    return [expression.alias(f"{group.prefix}_{name}_{window}d") for name, expression in STATISTICS.items()]


def _updates_of_group(rows: pl.DataFrame, group: Group, windows: Sequence[int]) -> pl.DataFrame:
    keys = list(group.keys)
    moments = [*keys, _KNOWN]
    table: pl.DataFrame | None = None
    for window in sorted(windows, reverse=True):
        trailing = rows.drop_nulls(keys).rolling(_KNOWN, period=f"{window}d", group_by=keys, closed="right")
        # Exposures that became known at the same moment have the same window: one row stands for them.
        part = trailing.agg(_statistics(group, window)).unique(moments, keep="last", maintain_order=True)
        table = part if table is None else table.join(part, on=moments, how="left", maintain_order="left")
    assert table is not None
    just_after = (pl.col(_KNOWN) + timedelta(microseconds=1)).alias(TIME)
    return table.sort(_KNOWN, *keys).select(*keys, just_after, pl.exclude(moments))


def _of_group(history: pl.DataFrame, group: Group, windows: Sequence[int], moment: pl.Expr) -> pl.DataFrame:
    keys = list(group.keys)
    known = history.drop_nulls(keys)
    table: pl.DataFrame | None = None
    for window in sorted(windows, reverse=True):
        part = known.filter(pl.col("age") <= window).group_by(keys, maintain_order=True).agg(_statistics(group, window))
        table = part if table is None else table.join(part, on=keys, how="left", maintain_order="left")
    assert table is not None
    counts = [f"{group.prefix}_exposures_{window}d" for window in windows]
    return (
        table.sort(keys).select(*keys, moment.alias(TIME), pl.exclude(keys)).with_columns(pl.col(counts).fill_null(0))
    )
