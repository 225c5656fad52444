"""The held-out rows of a fine-tuning run and what is measured on them."""

# N held-out rows

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from watchline.metrics import mae, xauc

METRICS = {"mae_s": ("median", mae), "xauc": ("expected_rank", xauc)}


@dataclass(frozen=True)
class HeldOut:
    """What the held-out rows are: labels and users (N,), how many rows were trained on, and when the cut was."""

    label_s: np.ndarray
    user_id: np.ndarray
    train_rows: int
    cut: str

    def metrics(self, predicted: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Every metric of predictions (N,) by statistic, each with the statistic that fits it."""
        return {name: metric(self.label_s, predicted[of]) for name, (of, metric) in METRICS.items()}
