"""Gloo processes of the distributed tests: how they start, what they call, what they write."""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file

Results = list[tuple[dict[str, torch.Tensor], dict[str, Any]]]

COLLECTIVES = [
    "all_gather",
    "all_gather_into_tensor",
    "all_gather_single",
    "all_gather_object",
    "all_reduce",
    "all_to_all",
    "all_to_all_single",
    "barrier",
    "broadcast",
    "broadcast_object_list",
    "gather",
    "gather_object",
    "reduce",
    "reduce_scatter",
    "reduce_scatter_single",
    "reduce_scatter_tensor",
    "scatter",
    "send",
    "recv",
    "isend",
    "irecv",
]


def run(function: Callable[[int, int, str], None], num_processes: int, folder: Path) -> Results:
    """`function(rank, num_processes, folder)` in as many processes; what each wrote, by rank.

    They are forked from a server that has imported the large libraries, which takes longer than what they do.
    """
    multiprocessing.set_forkserver_preload(["torch", "safetensors.torch", "pydantic", "peft.tuners.lora"])
    torch.multiprocessing.start_processes(
        function, args=(num_processes, str(folder)), nprocs=num_processes, start_method="forkserver"
    )
    paths = [folder / str(rank) for rank in range(num_processes)]
    return [(load_file(f"{path}.safetensors"), json.loads(Path(f"{path}.json").read_text())) for path in paths]


def count_collectives() -> Counter[str]:
    """Calls of each collective from now on, by name."""
    calls: Counter[str] = Counter()

    def counted(name: str, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return function(*args, **kwargs)

        return call

    for name in COLLECTIVES:
        if hasattr(dist, name):
            setattr(dist, name, counted(name, getattr(dist, name)))
    return calls
