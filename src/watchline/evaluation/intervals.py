"""Central 80 % prediction intervals of a model that gives quantiles: how often they hold, how wide they are."""

# B rows

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from watchline.metrics import interval_metrics
from watchline.models.base import INTERVAL_ENDS


def central_interval(
    label_s: np.ndarray, predictions: Mapping[str, np.ndarray], bucket: np.ndarray, names: Sequence[str]
) -> dict[str, Any]:
    """`coverage`, `width_s`, shares `below` and `above`; the same of each bucket that has rows, in `by_duration`.

    Labels, the INTERVAL_ENDS in `predictions`, and the bucket of each row (B,), which is -1 for an unknown duration.
    Buckets are a list, because DVC takes every number in a mapping for a metric.
    """
    low_s, high_s = (predictions[name] for name in INTERVAL_ENDS)
    by_duration = []
    for number in np.unique(bucket):
        rows = bucket == number
        found = interval_metrics(label_s[rows], low_s[rows], high_s[rows])
        by_duration.append({"bucket": names[number] if number >= 0 else "unknown", "rows": int(rows.sum()), **found})
    return {**interval_metrics(label_s, low_s, high_s), "by_duration": by_duration}
