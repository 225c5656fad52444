"""How one value reads on a page: text, alignment and the key it sorts by."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

MISSING = "–"


@dataclass(frozen=True)
class Shown:
    """A value ready for a page: its text, whether it is a number (right-aligned), and its sort key."""

    text: str
    numeric: bool
    sort: str
    missing: bool = False


def show(value: Any, spec: str | None = None) -> Shown:
    """Format one value; `spec` is a format specification for numbers, such as ``.3f``, ``,`` or ``.1%``.

    None and NaN show as a dash and sort last; lists and mappings show their items. Raises ValueError naming spec and
    value when they do not fit.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Shown(MISSING, numeric=False, sort="", missing=True)
    if isinstance(value, bool):
        return Shown("yes" if value else "no", numeric=False, sort=str(int(value)))
    if isinstance(value, int | float):
        return Shown(_number(value, spec), numeric=True, sort=f"{value:.10g}")
    if isinstance(value, Mapping):
        text = "; ".join(f"{name} {show(item, spec).text}" for name, item in value.items()) or "none"
    elif isinstance(value, list | tuple):
        text = ", ".join(show(item, spec).text for item in value) or "none"
    else:
        text = value.isoformat() if isinstance(value, date) else str(value)
    return Shown(text, numeric=False, sort=text)


def _number(value: int | float, spec: str | None) -> str:
    if spec is not None:
        try:
            text = format(value, spec)
        except ValueError as error:
            raise ValueError(f"format {spec!r} does not fit {value!r}: {error}") from None
    elif isinstance(value, int):
        text = f"{value:,}"
    else:
        text = _float(value)
    if text.startswith("-"):
        return "−" + text[1:] if re.search("[1-9∞a-z]", text) else text[1:]
    return text


def _float(value: float) -> str:
    size = abs(value)
    if not math.isfinite(value):
        return "-∞" if value < 0 else "∞"
    if size >= 1000:
        return f"{value:,.0f}"
    if value != 0 and size < 1e-4:
        return f"{value:.2e}"
    return f"{value:.4g}"
