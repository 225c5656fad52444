"""Constructors of the fields that sources share: name in the file, canonical column, how to read it."""

from __future__ import annotations

from watchline.data.sources import parsing
from watchline.data.sources.delimited import Field


def whole(name: str, target: str | None = None, required: bool = False) -> Field:
    """A whole number."""
    return Field(name, target or name, parsing.whole, "a whole number", required)


def flag(name: str, target: str | None = None, required: bool = False) -> Field:
    """0 or 1."""
    return Field(name, target or name, parsing.flag, "0 or 1", required)


def seconds(name: str, target: str, required: bool = False) -> Field:
    """Milliseconds in the file, seconds in the table."""
    return Field(name, target, parsing.seconds_from_ms, "a number of milliseconds", required)


def text(name: str, target: str | None = None) -> Field:
    """As it stands."""
    return Field(name, target or name, parsing.text, "text")
