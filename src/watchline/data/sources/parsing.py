"""Text columns into typed ones. Every parser gives null for what it cannot read; the caller counts those.

Those of OF_WHOLE_NUMBERS also take a column of Int64 and give what they give for the same numbers as text.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from watchline.data.schema import TIMESTAMP

Parser = Callable[[pl.Series], pl.Series]

# Milliseconds since 1970 of the years 1 and 9999: what a timestamp in microseconds and a calendar can hold.
FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999


def text(values: pl.Series) -> pl.Series:
    """As it stands."""
    return values


def number(values: pl.Series) -> pl.Series:
    """Finite decimal numbers as Float64."""
    numbers = values.cast(pl.Float64, strict=False) + 0.0  # -0 is 0, as it is where it was read as a whole number
    return numbers.set(~numbers.is_finite(), None)


def whole(values: pl.Series) -> pl.Series:
    """Whole numbers as Int64; `12.0` is one too, as tables written by pandas have it."""
    if values.dtype == pl.Int64:
        return values
    integers = values.cast(pl.Int64, strict=False)
    if integers.null_count() == values.null_count():
        return integers
    numbers = number(values)
    exact = numbers.set((numbers != numbers.round()) | (numbers.abs() > 2.0**53), None)
    return integers.fill_null(exact.cast(pl.Int64, strict=False))


def flag(values: pl.Series) -> pl.Series:
    """0 or 1 as Boolean."""
    integers = whole(values)
    return integers.set(~integers.is_in([0, 1]), None).cast(pl.Boolean)


def is_zero(values: pl.Series) -> pl.Series:
    """Whole numbers as Boolean: is it 0."""
    return whole(values) == 0


def is_public(values: pl.Series) -> pl.Series:
    """Text as Boolean: is it `public`."""
    return values == "public"


def seconds_from_ms(values: pl.Series) -> pl.Series:
    """Milliseconds as seconds, Float64."""
    # Polars divides by a scalar as a product with its reciprocal, which is one bit off for 10.7 s and others.
    return number(values) / pl.repeat(1000.0, len(values), eager=True)


def utc_from_ms(values: pl.Series) -> pl.Series:
    """Milliseconds since 1970 as a UTC timestamp; null outside the years 1 to 9999."""
    milliseconds = whole(values)
    milliseconds = milliseconds.set(~milliseconds.is_between(FIRST_MS, LAST_MS), None)
    return (milliseconds * 1000).cast(TIMESTAMP)


def utc_from_seconds(values: pl.Series) -> pl.Series:
    """Seconds since 1970, with or without decimals, as a UTC timestamp to the millisecond."""
    milliseconds = (number(values) * 1000).round()
    milliseconds = milliseconds.set(~milliseconds.is_between(FIRST_MS, LAST_MS), None)
    return (milliseconds.cast(pl.Int64) * 1000).cast(TIMESTAMP)


def compact_date(values: pl.Series) -> pl.Series:
    """YYYYMMDD as a date."""
    numbers = whole(values)
    # Few days stand in many rows; parsing the text of each row would cost more than all other columns together.
    days = numbers.unique().sort()
    parsed = days.cast(pl.String).str.to_date("%Y%m%d", strict=False)
    return parsed.gather(days.search_sorted(numbers))


def iso_date(values: pl.Series) -> pl.Series:
    """YYYY-MM-DD as a date."""
    return values.str.to_date("%Y-%m-%d", strict=False)


def whole_list(values: pl.Series) -> pl.Series:
    """A list of whole numbers in brackets (`[27, 9]`) as text with commas between (`27,9`); read, never evaluated."""
    listed = values.str.contains(r"^\[\s*(?:-?\d+(?:\s*,\s*-?\d+)*)?\s*\]$")
    return values.set(~listed, None).str.replace_all(r"[\[\]\s]", "")


OF_WHOLE_NUMBERS = frozenset({whole, number, flag, is_zero, seconds_from_ms, utc_from_ms, compact_date})
