"""Numbers for machines: one JSON form for every metrics file, so that equal results are equal bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

SIGNIFICANT_DIGITS = 10


def without_numpy(value: Any) -> Any:
    """An array as lists, a NumPy scalar as Python's, anything else as it is."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def plain(value: Any, key: str = "") -> Any:
    """`value` as what JSON knows: floats rounded to 10 significant digits, dates as ISO text, arrays as lists.

    Raises ValueError naming the key of a NaN or an infinity (write None where there is no number), TypeError naming
    the key of anything JSON has no word for.
    """
    value = without_numpy(value)
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


def read_json(path: Path, keys: Collection[str] = ()) -> dict[str, Any]:
    """The object in a JSON file that has at least `keys`.

    Raises ValueError naming the file when it is missing, is no JSON object or lacks a key.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; run the stage that writes it (`dvc repro`), or `dvc checkout`")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); `dvc checkout` restores the last good one") from None
    missing = [key for key in keys if not isinstance(values, dict) or key not in values]
    if missing or not isinstance(values, dict):
        raise ValueError(f"{path}: lacks {', '.join(missing) or 'an object'}; run the stage that writes it again")
    return values
