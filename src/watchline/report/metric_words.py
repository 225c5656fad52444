"""Metrics of models as pages name them, and how far a value is from ideal: one list for every page."""

from __future__ import annotations

import math
from collections.abc import Callable

TITLE = {
    "mae_s": "MAE s",
    "rmse_s": "RMSE s",
    "xauc": "XAUC",
    "xauc_all_pairs": "XAUC, all pairs",
    "gauc": "GAUC",
    "calibration": "calibration",
    "mae_near_zero_s": "MAE s, labels < 1 s",
    "bias_near_zero_s": "bias s, labels < 1 s",
}

# How far a value is from ideal; what has the least is marked as the best of its column.
DISTANCE: dict[str, Callable[[float], float]] = {
    "calibration": lambda value: abs(math.log(value)) if value > 0 else math.inf,
    "bias_near_zero_s": abs,
    **dict.fromkeys(("xauc", "xauc_all_pairs", "gauc"), lambda value: -value),
    **dict.fromkeys(("mae_s", "rmse_s", "mae_near_zero_s"), float),
}
