"""A day counts when its rows go on to its end and are about as many as on the days before."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from watchline.data.complete_days import newest_complete_day
from watchline.data.sources.base import SourceError, SourceTables, empty_unparsable

FIRST = date(2024, 3, 1)
OFFSET = 8


def tables(*days: tuple[int, float]) -> SourceTables:
    """Consecutive local days, each with its number of rows, spread evenly up to an hour of the day."""

    def exposures_of(day: date) -> pl.DataFrame:
        rows, until_h = days[(day - FIRST).days]
        start = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=OFFSET)
        return pl.DataFrame({"exposed_at": [start + timedelta(hours=until_h * (i + 1) / rows) for i in range(rows)]})

    return SourceTables(
        days=tuple(FIRST + timedelta(days=i) for i in range(len(days))),
        exposures_of=exposures_of,
        users=pl.DataFrame(),
        videos=pl.DataFrame(),
        unparsable=empty_unparsable(),
        utc_offset_hours=OFFSET,
        columns_filled={},
    )


def newest(*days: tuple[int, float]) -> int:
    return (newest_complete_day(tables(*days)) - FIRST).days + 1


def test_the_last_day_counts_when_it_goes_on_to_its_end():
    assert newest((100, 23.9), (110, 23.8), (90, 23.5)) == 3


def test_a_day_that_is_still_coming_in_does_not_count():
    assert newest((100, 23.9), (110, 23.8), (90, 19.0)) == 2


def test_rows_dated_ahead_by_a_wrong_clock_make_no_day():
    assert newest((100, 23.9), (110, 23.8), (90, 12.0), (1, 23.9)) == 2


def test_a_day_of_which_most_is_missing_does_not_count():
    assert newest((100, 23.9), (110, 23.8), (40, 23.9)) == 2
    assert newest((100, 23.9), (110, 23.8), (60, 23.9)) == 3


def test_a_source_without_a_whole_day_says_so():
    with pytest.raises(SourceError, match="none of 2 days is whole"):
        newest((100, 12.0), (100, 13.0))
