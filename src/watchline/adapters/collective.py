"""The collectives of fine-tuning, over a process group or over one process alone."""

# h rows of this process, K rows of all

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class Collective:
    """Rank, size and collectives of `group` (None: the default group, or this process alone when there is none)."""

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self.group = group
        self.active = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank(group) if self.active else 0
        self.size = dist.get_world_size(group) if self.active else 1

    def all_gather(self, local: Tensor) -> Tensor:
        """Rows of every process in rank order: (h, ...) on each of N processes -> (N h, ...)."""
        if self.size == 1:
            return local
        gathered = torch.empty((self.size * local.shape[0], *local.shape[1:]), dtype=local.dtype, device=local.device)
        _function("all_gather_single", "all_gather_into_tensor")(gathered, local.contiguous(), group=self.group)
        return gathered

    def reduce_scatter(self, full: Tensor) -> Tensor:
        """Sums over the processes, of which each keeps its rows in rank order: (N h, ...) everywhere -> (h, ...)."""
        if self.size == 1:
            return full
        kept = torch.empty((full.shape[0] // self.size, *full.shape[1:]), dtype=full.dtype, device=full.device)
        _function("reduce_scatter_single", "reduce_scatter_tensor")(kept, full.contiguous(), group=self.group)
        return kept

    def broadcast(self, tensor: Tensor, source: int) -> None:
        """Overwrite the contiguous `tensor` with that of rank `source` of the group."""
        if self.size > 1:
            dist.broadcast(tensor, group=self.group, group_src=source)


def _function(name: str, former_name: str) -> Any:
    """torch 2.13 renamed some collectives and warns about the old name at every call."""
    return getattr(dist, name, None) or getattr(dist, former_name)
