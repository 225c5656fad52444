"""A law of watch time with a closed form, for tests of what models make of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from watchline.data.columns import Columns

COLUMNS = Columns(label="watch_time_s", keys=(), categorical=("kind",), numeric=("duration_s",))
ZERO_SHARE_C = np.array([0.05, 0.15, 0.3, 0.4])  # probability of 0 by kind
RATE_C = np.array([1.0, 2.5, 4.0, 1.5])
SHAPE = 1.5


@dataclass(frozen=True)
class KnownLaw:
    """0 with a probability by kind; otherwise Weibull of shape 1.5, its scale the kind's rate times sqrt(duration)."""

    kind_N: np.ndarray
    duration_N: np.ndarray

    @property
    def zero_N(self) -> np.ndarray:
        """Probability of 0 (N,)."""
        return ZERO_SHARE_C[self.kind_N]

    @property
    def scale_N(self) -> np.ndarray:
        """Weibull scale (N,), seconds."""
        return RATE_C[self.kind_N] * np.sqrt(self.duration_N)

    @property
    def mean_N(self) -> np.ndarray:
        """Expectation (N,), seconds."""
        return (1 - self.zero_N) * self.scale_N * math.gamma(1 + 1 / SHAPE)

    def quantile_N(self, level: float) -> np.ndarray:
        """Smallest value up to which the probability is at least `level` (N,), seconds."""
        inner = np.clip((level - self.zero_N) / (1 - self.zero_N), 0.0, None)
        return self.scale_N * (-np.log1p(-inner)) ** (1 / SHAPE)

    def cumulative_N(self, value_N: np.ndarray) -> np.ndarray:
        """Probability up to a value per row (N,)."""
        return self.zero_N + (1 - self.zero_N) * -np.expm1(-((value_N / self.scale_N) ** SHAPE))


def draw(num_rows: int, seed: int) -> tuple[pl.DataFrame, KnownLaw]:
    """Rows of random kind and duration (5 to 120 s) with labels of the law."""
    rng = np.random.default_rng(seed)
    law = KnownLaw(rng.integers(0, 4, num_rows), np.exp(rng.uniform(math.log(5), math.log(120), num_rows)))
    label = law.scale_N * rng.weibull(SHAPE, num_rows) * (rng.random(num_rows) >= law.zero_N)
    return table(law, label), law


def table(law: KnownLaw, label_N: np.ndarray) -> pl.DataFrame:
    """Feature table of the rows of a law."""
    return pl.DataFrame({"kind": law.kind_N, "duration_s": law.duration_N, "watch_time_s": label_N})
