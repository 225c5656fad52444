"""Row rules: which rows of a canonical table are broken, in one vectorised pass; they go to quarantine, never away."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import polars as pl
from pydantic import Field

from watchline.config import Config
from watchline.data.schema import EXPOSURES, USERS, VIDEOS

# Every rule there is, in the order in which a row is tried against them; `rule` in quarantine is the first one broken.
MEANINGS = {
    "unparsable": "a line of the source that no row could be read from",
    "null_key": "an id, the time or the watch time is null",
    "duplicate": "a further copy of an identical row (the first copy stays)",
    "conflicting_id": "an id that an earlier row of the table has with other values",
    "future_time": "shown after the last day of the window",
    "past_time": "dated before rows.earliest_day",
    "wrong_day": "the time is not within the row's local day",
    "unknown_user": "the user id is not in the user table",
    "unknown_video": "the video id is not in the video table",
    "play_out_of_range": "watch time is negative, not a number or above rows.max_play_s",
    "duration_out_of_range": "duration is zero, negative, not a number, null or above rows.max_duration_s",
}


class RowLimits(Config):
    """Bounds of the row rules."""

    max_play_s: float = Field(gt=0, description="longest credible watch time, seconds")
    max_duration_s: float = Field(gt=0, description="longest credible video, seconds")
    earliest_day: date = Field(default=date(2010, 1, 1), description="first credible local day")
    day_slack_h: float = Field(ge=0, le=24, description="hours that exposed_at may lie outside its row's local day")


@dataclass(frozen=True)
class RowRule:
    """A name and a Boolean expression over one table; true means broken, null counts as kept."""

    name: str
    broken: pl.Expr


@dataclass(frozen=True)
class Screened:
    """A table split in two, order kept. `quarantined` has `rule` and `rules` added; `counts` has every rule, zeros too.

    A row that breaks several rules is counted for each, so the counts can add up to more than the quarantined rows.
    """

    clean: pl.DataFrame
    quarantined: pl.DataFrame
    counts: dict[str, int]


def exposure_rules(
    limits: RowLimits,
    last_day: date,
    utc_offset_hours: float,
    user_ids: pl.Series,
    video_ids: pl.Series,
    filled: Collection[str],
) -> list[RowRule]:
    """Rules of `exposures`; the ids are those of the clean user and video tables.

    `filled` names the columns that the source has: a null duration is broken only where the source has durations.
    """
    duration = _out_of_range("duration_s", limits.max_duration_s, zero_allowed=False)
    if "duration_s" in filled:
        duration = duration.fill_null(True)
    return [
        _null_key("user_id", "video_id", "exposed_at", "date", "watch_time_s"),
        _duplicate(EXPOSURES),
        RowRule("future_time", _after(last_day, utc_offset_hours, limits.day_slack_h)),
        RowRule("past_time", pl.col("date") < limits.earliest_day),
        RowRule("wrong_day", outside_its_day(utc_offset_hours, limits.day_slack_h)),
        RowRule("unknown_user", ~pl.col("user_id").is_in(user_ids.implode())),
        RowRule("unknown_video", ~pl.col("video_id").is_in(video_ids.implode())),
        RowRule("play_out_of_range", _out_of_range("watch_time_s", limits.max_play_s, zero_allowed=True)),
        RowRule("duration_out_of_range", duration),
    ]


def user_rules() -> list[RowRule]:
    """Rules of `users`."""
    return _id_rules("user_id", USERS)


def video_rules() -> list[RowRule]:
    """Rules of `videos`."""
    return _id_rules("video_id", VIDEOS)


def screen(table: pl.DataFrame, rules: Sequence[RowRule]) -> Screened:
    """Split `table` by `rules`; raises AssertionError if a row were lost or doubled."""
    names = [rule.name for rule in rules]
    flags = table.select(rule.broken.fill_null(False).alias(rule.name) for rule in rules)
    broken = flags.select(pl.any_horizontal(names)).to_series()
    labels = flags.filter(broken).select(
        pl.coalesce(_label(name) for name in names).alias("rule"),
        pl.concat_str([_label(name) for name in names], separator=",", ignore_nulls=True).alias("rules"),
    )
    clean = table.filter(~broken)
    quarantined = table.filter(broken).hstack(labels)
    if len(clean) + len(quarantined) != len(table):
        raise AssertionError(f"{len(table)} rows in, {len(clean)} clean and {len(quarantined)} quarantined out")
    return Screened(clean, quarantined, {name: int(flags[name].sum()) for name in names})


def label_unparsable(lines: pl.DataFrame) -> pl.DataFrame:
    """The unparsable lines of ingest in the form of a quarantine table."""
    return lines.with_columns(rule=pl.lit("unparsable"), rules=pl.lit("unparsable"))


def _id_rules(key: str, schema: Collection[str]) -> list[RowRule]:
    repeated = ~pl.col(key).is_first_distinct()
    copy = ~pl.struct(list(schema)).is_first_distinct()
    return [_null_key(key), _duplicate(schema), RowRule("conflicting_id", pl.col(key).is_not_null() & repeated & ~copy)]


def _label(name: str) -> pl.Expr:
    return pl.when(pl.col(name)).then(pl.lit(name))


def _null_key(*columns: str) -> RowRule:
    return RowRule("null_key", pl.any_horizontal(pl.col(column).is_null() for column in columns))


def _duplicate(schema: Collection[str]) -> RowRule:
    return RowRule("duplicate", ~pl.struct(list(schema)).is_first_distinct())


def _out_of_range(column: str, maximum: float, zero_allowed: bool) -> pl.Expr:
    # Polars orders NaN above every number, so the upper bound catches it too.
    value = pl.col(column)
    too_low = value < 0 if zero_allowed else value <= 0
    return too_low | (value > maximum)


def _after(last_day: date, utc_offset_hours: float, slack_h: float) -> pl.Expr:
    local_end = datetime.combine(last_day + timedelta(days=1), time(), UTC)
    limit = local_end + timedelta(hours=slack_h - utc_offset_hours)
    return (pl.col("date") > last_day) | (pl.col("exposed_at") >= limit)


def outside_its_day(utc_offset_hours: float, slack_h: float) -> pl.Expr:
    """True where exposed_at is more than `slack_h` hours before or after the local day `date`."""
    midnight = pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC") - timedelta(hours=utc_offset_hours)
    slack = timedelta(hours=slack_h)
    time_of_row = pl.col("exposed_at")
    return (time_of_row < midnight - slack) | (time_of_row >= midnight + timedelta(days=1) + slack)
