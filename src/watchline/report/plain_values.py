"""Values of a page in plain JSON: what a reader sees of them is the same before and after."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from typing import Any

from watchline.report.json_file import without_numpy

SIGNIFICANT_DIGITS = 12


def as_plain(value: Any) -> Any:
    """`value` as JSON knows it: NaN as None, dates as ISO text, arrays and tuples as lists, dataclasses as dicts.

    Floats keep 12 significant digits; an infinity becomes {"number": "inf"}, which `from_plain` reads.
    """
    value = without_numpy(value)
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        return {str(name): as_plain(item) for name, item in value.items()}
    if is_dataclass(value):
        return {part.name: as_plain(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, list | tuple) or hasattr(value, "__iter__"):
        return [as_plain(item) for item in value]
    return value.isoformat() if isinstance(value, date) else str(value)


def _number(value: float) -> Any:
    if math.isnan(value):
        return None
    if math.isinf(value):
        return {"number": "inf" if value > 0 else "-inf"}
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def from_plain(value: Any) -> Any:
    """What `as_plain` wrote, with infinities as numbers again."""
    if isinstance(value, dict):
        if set(value) == {"number"}:
            return float(value["number"])
        return {name: from_plain(item) for name, item in value.items()}
    return [from_plain(item) for item in value] if isinstance(value, list) else value
