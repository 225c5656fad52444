"""The two collectives HD-PiSSA needs, over a process group or over one process alone."""

from __future__ import annotations

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
        # torch 2.13 renamed it and warns about the old name at every call.
        gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
        gather(gathered, local.contiguous(), group=self.group)
        return gathered

    def broadcast(self, tensor: Tensor, source: int) -> None:
        """Overwrite the contiguous `tensor` with that of rank `source` of the group."""
        if self.size > 1:
            dist.broadcast(tensor, group=self.group, group_src=source)
