"""Batches of an encoded table as tensors: shuffled by seed for training, in order for prediction.

B rows of a batch, N rows of the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from watchline.data.encoding import EncodedTable
from watchline.training.seeding import derived_seed


class Network(Protocol):
    """What the loop needs of a torch model; a subclass of nn.Module."""

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
        """Mean loss over the rows of a batch at global `step` of `total_steps`."""

    def predict(self, categorical_BF: Tensor, numeric_BD: Tensor, statistics: Sequence[str]) -> dict[str, Tensor]:
        """One tensor (B,) per statistic."""


def steps_per_epoch(num_rows: int, batch_size: int) -> int:
    """Batches of one pass, the last one possibly short."""
    return -(-num_rows // batch_size)


def epoch_order(num_rows: int, seed: int, epoch: int) -> np.ndarray:
    """Order of the rows (N,) in one epoch: a function of seed and epoch alone, so that a repeated run can rejoin it."""
    return np.random.default_rng(derived_seed(seed, epoch)).permutation(num_rows)


def gather(table: EncodedTable, rows: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Codes (B, F) int64, numbers (B, D) float32 and labels (B,) float64 of the given rows; needs labels."""
    if table.label_N is None:
        raise ValueError(f"training needs labels; the table of {len(table)} rows has no label column")
    arrays = table.categorical_NF[rows], table.numeric_ND[rows], table.label_N[rows]
    categorical, numeric, label = (torch.from_numpy(array).to(device) for array in arrays)
    return categorical, numeric, label


def predict_table(
    network: Network, table: EncodedTable, statistics: Sequence[str], batch_size: int, device: torch.device
) -> dict[str, np.ndarray]:
    """`network.predict` over the whole table in order, in evaluation mode; float64 arrays (N,)."""
    module = network
    assert isinstance(module, torch.nn.Module)
    was_training = module.training
    module.eval()
    results = {name: np.zeros(len(table)) for name in statistics}
    with torch.inference_mode():
        for start in range(0, len(table), batch_size):
            rows = slice(start, start + batch_size)
            categorical = torch.from_numpy(table.categorical_NF[rows]).to(device)
            numeric = torch.from_numpy(table.numeric_ND[rows]).to(device)
            for name, values in network.predict(categorical, numeric, statistics).items():
                results[name][rows] = values.double().cpu().numpy()
    module.train(was_training)
    return results
