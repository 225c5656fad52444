"""A one-layer network with dropout that fits a median: the smallest thing the training loop accepts."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from watchline.data.encoding import EncodedTable


class LineNetwork(nn.Module):
    """Absolute error of a linear map; loss draws random numbers from torch and from the loop's generator."""

    def __init__(self, num_numeric: int, stop_at: int | None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(num_numeric, 1)
        self.dropout = nn.Dropout(0.2)
        self.stop_at = stop_at

    def loss(self, categorical_BF, numeric_BD, label_s_B, *, step, total_steps, generator):
        if step == self.stop_at:
            raise KeyboardInterrupt
        noise_B = torch.randn(len(label_s_B), generator=generator) * (1 - step / total_steps)
        predicted_B = self.linear(self.dropout(numeric_BD)).squeeze(1)
        return (predicted_B + 0.1 * noise_B - label_s_B.float()).abs().mean()

    def predict(self, categorical_BF, numeric_BD, statistics):
        value_B = self.linear(numeric_BD).squeeze(1)
        return dict.fromkeys(statistics, value_B)


def encoded_line(num_rows: int, seed: int, num_numeric: int = 3) -> EncodedTable:
    """Rows whose label is linear in the numbers, plus noise."""
    rng = np.random.default_rng(seed)
    numeric = rng.normal(size=(num_rows, num_numeric)).astype(np.float32)
    label = numeric @ np.arange(1, num_numeric + 1) + rng.normal(0, 0.1, num_rows)
    return EncodedTable(np.zeros((num_rows, 0), np.int64), numeric, label.astype(np.float64))
