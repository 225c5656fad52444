"""Which days of a source are whole: a schedule advances to the newest of them, by the rows alone, not by a clock."""

from __future__ import annotations

from datetime import date, timedelta
from statistics import median

import polars as pl

from watchline.data.sources.base import SourceError, SourceTables

LAST_HOURS = 2  # a whole day has an exposure in its last hours
MIN_SHARE = 0.5  # and at least this share of the median rows of the days before it
DAYS_BEFORE = 3


def newest_complete_day(tables: SourceTables) -> date:
    """The newest local day that goes on to its end and has about as many rows as the days before it.

    A day that is still coming in fails the first rule; a few rows with a clock of their own, dated ahead, the second.
    Raises SourceError, with what is missing of the newest day, where no day is whole.
    """
    for number in range(len(tables.days) - 1, -1, -1):
        day = tables.days[number]
        exposures = tables.exposures_of(day)
        before = [_num_rows(tables, each) for each in tables.days[max(0, number - DAYS_BEFORE) : number]]
        if _reaches_its_end(exposures, day, tables.utc_offset_hours) and (
            not before or len(exposures) >= MIN_SHARE * median(before)
        ):
            return day
    raise SourceError(
        f"none of {len(tables.days)} days is whole: each lacks exposures in its last {LAST_HOURS} hours, or has less "
        f"than {MIN_SHARE:.0%} of the rows of the days before; set window.end by hand (make flow)"
    )


def _reaches_its_end(exposures: pl.DataFrame, day: date, utc_offset_hours: float) -> bool:
    """Whether a row with the date `day` lies in its last hours; a row's date is that of its source, and may differ."""
    start = pl.lit(day).cast(pl.Datetime("us")).dt.replace_time_zone("UTC") - timedelta(hours=utc_offset_hours)
    late = pl.col("exposed_at") >= start + timedelta(hours=24 - LAST_HOURS)
    return bool(exposures.select(late.any()).item())


def _num_rows(tables: SourceTables, day: date) -> int:
    return tables.known_days[day].rows if day in tables.known_days else len(tables.exposures_of(day))
