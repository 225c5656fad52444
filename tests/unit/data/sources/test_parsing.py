"""Text into typed values: what is read, and that everything else is null."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from watchline.data.sources import parsing


def parse(parser: parsing.Parser, *values: str | None) -> list:
    return parser(pl.Series("column", values, dtype=pl.String)).to_list()


def test_whole_numbers_may_end_in_point_zero_and_nothing_else():
    read = parse(parsing.whole, "7", "-124", "12.0", "9223372036854775807", None)
    assert read == [7, -124, 12, 9223372036854775807, None]
    assert parse(parsing.whole, "1.5", "x", "", " 7", "nan", "inf", "1e30", "9223372036854775808") == [None] * 8


def test_numbers_are_finite():
    assert parse(parsing.number, "1.5", "-3", "1e3", None) == [1.5, -3.0, 1000.0, None]
    assert parse(parsing.number, "nan", "inf", "-inf", "1,5", "0x10") == [None] * 5


def test_flags_are_zero_or_one():
    assert parse(parsing.flag, "0", "1", "1.0", "2", "-1", "true", None) == [False, True, True, None, None, None, None]


def test_milliseconds_are_seconds_to_the_last_bit():
    values = [str(i) for i in range(0, 700_000, 7)]
    assert parse(parsing.seconds_from_ms, *values) == [int(value) / 1000 for value in values]


def test_times_are_utc_within_the_calendar():
    read = parse(parsing.utc_from_ms, "1650812741436", "-1000", "-62135596800000", "253402300799999")
    assert read[0] == datetime(2022, 4, 24, 15, 5, 41, 436000, tzinfo=UTC)
    assert read[1] == datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert (read[2].year, read[3].year) == (1, 9999)
    assert parse(parsing.utc_from_ms, "253402300800000", "-62135596800001", "9223372036854775807", "soon") == [None] * 4


@pytest.mark.parametrize(
    ("parser", "good", "bad"),
    [
        (parsing.compact_date, ["20220425", "20220425.0"], ["20221301", "2022-04-25", "220425", "20220230"]),
        (parsing.iso_date, ["2022-04-25", "2022-04-25"], ["20220425", "2022-13-01", "25.04.2022"]),
    ],
)
def test_dates_are_days_of_the_calendar(parser, good, bad):
    assert parse(parser, *good) == [date(2022, 4, 25)] * 2
    assert parse(parser, *bad) == [None] * len(bad)
