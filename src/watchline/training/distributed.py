"""Process groups: the same code runs alone or under torchrun, on CPUs (gloo) or GPUs (nccl).

torchrun --standalone --nproc_per_node=2 -m watchline.stages.finetune ...
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

# A process that others wait for may encode a whole table meanwhile; one that dies is torchrun's to notice.
_PATIENCE = timedelta(hours=6)


class OtherProcessError(ValueError):
    """Another process of the group failed; the message names its rank."""


@dataclass(frozen=True)
class Processes:
    """Where this process stands: its rank, how many there are, its device."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files and lines."""
        return self.rank == 0


ALONE = Processes(0, 1, torch.device("cpu"))


@contextmanager
def process_group(device: str = "auto") -> Iterator[Processes]:
    """Join the group that torchrun's environment describes, and leave it at the end; alone without torchrun.

    After an error the group is left to torchrun: taking it down waits for processes that may be inside a collective.
    `auto` takes CUDA when every local process can have a device of its own, and the CPU otherwise.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    local_rank, local_size = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    enough = torch.cuda.is_available() and torch.cuda.device_count() >= local_size
    if device == "cuda" and not enough:
        raise ValueError(f"{local_size} processes need {local_size} CUDA devices, found {torch.cuda.device_count()}")
    on_cuda = enough and device != "cpu"
    if on_cuda:
        torch.cuda.set_device(local_rank)
    where = torch.device("cuda", local_rank) if on_cuda else torch.device("cpu")
    if world_size == 1:
        yield Processes(0, 1, where)
        return
    dist.init_process_group("nccl" if on_cuda else "gloo", timeout=_PATIENCE, device_id=where if on_cuda else None)
    yield Processes(dist.get_rank(), world_size, where)
    dist.destroy_process_group()


def all_gather(tensor: Tensor) -> Tensor:
    """Every process's `tensor` (same shape everywhere) stacked along a new first axis, in rank order."""
    if not dist.is_initialized():
        return tensor.unsqueeze(0)
    gathered = torch.empty((dist.get_world_size(), *tensor.shape), dtype=tensor.dtype, device=tensor.device)
    dist.all_gather(list(gathered.unbind(0)), tensor.contiguous())
    return gathered


def all_reduce_sum(tensor: Tensor) -> None:
    """Put the sum over processes into every process's `tensor`."""
    if dist.is_initialized():
        dist.all_reduce(tensor)


def raise_together(error: Exception | None, device: torch.device | None = None) -> None:
    """Raise on every process when any of them failed, so that none waits for one that has gone.

    Raises `error` itself where it happened and OtherProcessError naming the ranks elsewhere.
    """
    failed = torch.tensor([0 if error is None else 1], device=device)
    ranks = all_gather(failed).flatten().nonzero().flatten().tolist()
    if error is not None:
        raise error
    if ranks:
        raise OtherProcessError(f"stopped because rank {', '.join(map(str, ranks))} failed; its own message says why")
