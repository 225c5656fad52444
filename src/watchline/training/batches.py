"""Batches of an encoded table as tensors, and prediction of a whole table.

B rows of a batch, N rows of the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from watchline.data.encoding import EncodedTable
from watchline.training.distributed import ALONE, Processes, all_gather


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


class DistributionNetwork(Protocol):
    """A network that gives the whole distribution of a row."""

    def cumulative(self, categorical_BF: Tensor, numeric_BD: Tensor, label_s_B: Tensor) -> tuple[Tensor, Tensor]:
        """F(y-) and F(y) (B,) of each row's label y."""


def steps_per_epoch(num_rows: int, batch_size: int) -> int:
    """Batches of one pass, the last one possibly short."""
    return -(-num_rows // batch_size)


def is_validation_due(step: int, per_epoch: int, validations_per_epoch: int) -> bool:
    """Whether `step` (from 1) ends one of the equal parts of an epoch after which a fit is validated."""
    return step * validations_per_epoch // per_epoch > (step - 1) * validations_per_epoch // per_epoch


def dealt_batches(
    num_rows: int, batch_size: int, processes: Processes = ALONE
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Number and rows of each batch of consecutive rows that falls to this process; they are dealt in turn."""
    for number, start in enumerate(range(0, num_rows, batch_size)):
        if number % processes.world_size == processes.rank:
            yield number, np.arange(start, min(start + batch_size, num_rows))


def gather(table: EncodedTable, rows: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Codes (B, F) int32, numbers (B, D) float32 and labels (B,) float64 of the given rows; needs labels."""
    if table.label_N is None:
        raise ValueError(f"training needs labels; the table of {len(table)} rows has no label column")
    arrays = table.categorical_NF[rows], table.numeric_ND[rows], table.label_N[rows]
    categorical, numeric, label = (torch.from_numpy(array).to(device) for array in arrays)
    return categorical, numeric, label


def cumulative_table(
    network: DistributionNetwork, table: EncodedTable, batch_size: int, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """`network.cumulative` over the whole labelled table in order; two float64 arrays (N,)."""
    found_2N = np.zeros((2, len(table)))
    for _, rows in dealt_batches(len(table), batch_size):
        found_2N[:, rows] = torch.stack(network.cumulative(*gather(table, rows, device))).cpu().numpy()
    below_N, upto_N = found_2N
    return below_N, upto_N


def predict_table(
    network: Network,
    table: EncodedTable,
    statistics: Sequence[str],
    batch_size: int,
    device: torch.device,
    processes: Processes = ALONE,
) -> dict[str, np.ndarray]:
    """`network.predict` over the whole table in order, in evaluation mode; float64 arrays (N,).

    Batches are dealt to the processes in turn, and every process gets the whole result.
    """
    module = network
    assert isinstance(module, torch.nn.Module)
    was_training = module.training
    module.eval()
    values_SN = torch.zeros((len(statistics), len(table)), dtype=torch.float64)
    with torch.inference_mode():
        for _, rows in dealt_batches(len(table), batch_size, processes):
            arrays = table.categorical_NF[rows], table.numeric_ND[rows]
            categorical, numeric = (torch.from_numpy(array).to(device) for array in arrays)
            predicted = network.predict(categorical, numeric, statistics)
            for name, values_N in zip(statistics, values_SN):
                values_N[rows] = predicted[name].double().cpu()
    module.train(was_training)
    if processes.world_size > 1:
        values_SN = all_gather(values_SN.to(device)).sum(dim=0).cpu()  # the others' rows are zeros
    return dict(zip(statistics, values_SN.numpy()))
