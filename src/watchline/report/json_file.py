"""Numbers for machines: one JSON form for every metrics file, so that equal results are equal bytes."""

from __future__ import annotations

import json
import math
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

SIGNIFICANT_DIGITS = 10


def plain(value: Any, key: str = "") -> Any:
    """`value` as what JSON knows: floats rounded to 10 significant digits, dates as ISO text, arrays as lists.

    Raises ValueError naming the key of a NaN or an infinity (write None where there is no number), TypeError naming
    the key of anything JSON has no word for.
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    elif isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{key or 'value'}: {value} is no number for JSON; write None where there is none")
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(name): plain(item, f"{key}.{name}".lstrip(".")) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{key}[{i}]") for i, item in enumerate(value)]
    raise TypeError(f"{key or 'value'}: {type(value).__name__} has no JSON form; write numbers, text, lists or dicts")


def write_json(path: Path, values: Any) -> None:
    """Write `values` with sorted keys, two spaces and a last newline; folders are made. Raises as `plain` does."""
    text = json.dumps(plain(values), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
