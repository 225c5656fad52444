"""A small real network with the interface of the training loops: rows in, one value out, a few statistics of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from watchline.data.encoding import EncodedTable

CARDINALITIES = (30, 20)


class SmallNetwork(nn.Module):
    """Embeddings and three linear maps onto log1p of the watch time; squared error, dropout, and noise by generator."""

    def __init__(self, seed: int = 0, width: int = 16) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(sum(CARDINALITIES), 8)
        self.register_buffer("offset_F", torch.tensor([0, CARDINALITIES[0]]))
        self.layers = nn.Sequential(nn.Linear(18, width), nn.SiLU(), nn.Dropout(0.1), nn.Linear(width, width))
        self.head = nn.Linear(width, 1)

    def value(self, categorical_BF: Tensor, numeric_BD: Tensor) -> Tensor:
        """log1p of seconds (B,)."""
        embedded = self.embedding(categorical_BF + self.offset_F).flatten(1)
        return self.head(nn.functional.silu(self.layers(torch.cat([embedded, numeric_BD], dim=1)))).squeeze(1)

    def loss(
        self,
        categorical_BF: Tensor,
        numeric_BD: Tensor,
        label_s_B: Tensor,
        *,
        step: int,
        total_steps: int,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Mean squared error of log1p, the numbers jittered in training."""
        if self.training:
            numeric_BD = numeric_BD + 0.01 * torch.randn(numeric_BD.shape, generator=generator)
        return (self.value(categorical_BF, numeric_BD) - label_s_B.float().log1p()).square().mean()

    def predict(self, categorical_BF: Tensor, numeric_BD: Tensor, statistics: Sequence[str]) -> dict[str, Tensor]:
        """The one value for every statistic."""
        value = self.value(categorical_BF, numeric_BD)
        return {name: value if name == "expected_rank" else value.clamp(max=20).expm1() for name in statistics}


def draw_table(num_rows: int, seed: int = 0, shift: float = 0.0) -> EncodedTable:
    """Rows whose log watch time is linear in the numbers and the codes; `shift` moves the law, as drift does."""
    rng = np.random.default_rng(seed)
    categorical = np.stack([rng.integers(0, count, num_rows) for count in CARDINALITIES], axis=1)
    numeric = rng.normal(size=(num_rows, 2)).astype(np.float32)
    mean = 2 + (0.5 + shift) * numeric[:, 0] - shift * numeric[:, 1] + 0.03 * categorical[:, 0]
    return EncodedTable(categorical, numeric, np.expm1(np.maximum(mean + 0.2 * rng.normal(size=num_rows), 0.0)))
