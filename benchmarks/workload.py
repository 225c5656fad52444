"""Generated rows for benchmarks: features of the sizes of a real log, watch times with skips, a long tail and a law."""

# N rows, F categorical columns, D numeric columns

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

CARDINALITIES = (27_286, 7_584, 5_700, 2_900, 15, 24, 7, 70, 10, 8, 8, 6, 3, 3)
NUM_NUMERIC = 40


@dataclass(frozen=True)
class Rows:
    """Row-aligned arrays: codes (N, F) int64, numbers (N, D) float32, seconds (N,) float64."""

    categorical_NF: Tensor
    numeric_ND: Tensor
    label_s_N: Tensor

    def part(self, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
        """Rows start to stop as the arguments of a network's loss."""
        return self.categorical_NF[start:stop], self.numeric_ND[start:stop], self.label_s_N[start:stop]

    def to(self, device: torch.device) -> Rows:
        """The same rows on a device."""
        return Rows(self.categorical_NF.to(device), self.numeric_ND.to(device), self.label_s_N.to(device))


def generate_rows(num_rows: int, seed: int = 1) -> Rows:
    """Skips by a logistic law of the numbers, else log-normal seconds around another; a tenth is 0, the median is 6."""
    rng = np.random.default_rng(seed)
    categorical = np.stack([(rng.random(num_rows) ** 2 * size).astype(np.int64) for size in CARDINALITIES], axis=1)
    numeric = rng.normal(size=(num_rows, NUM_NUMERIC)).astype(np.float32)
    skips = rng.random(num_rows) < 1 / (1 + np.exp(2.4 + numeric[:, 0]))
    seconds = np.exp(2.0 + 0.5 * numeric[:, 1] + 0.3 * numeric[:, 2] + 1.1 * rng.normal(size=num_rows))
    label_s = np.where(skips, 0.0, np.minimum(seconds, 900.0))
    return Rows(torch.from_numpy(categorical), torch.from_numpy(numeric), torch.from_numpy(label_s))
