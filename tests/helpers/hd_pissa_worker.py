"""What one gloo process does in the distributed tests of HD-PiSSA; results go to RANK.safetensors and RANK.json."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

from tests.helpers import plain_hd_pissa as plain
from watchline.adapters.hd_pissa import Adapters, HDPiSSAConfig, inject
from watchline.adapters.optimizer import HDPiSSAOptimizer

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
    "reduce_scatter_tensor",
    "scatter",
    "send",
    "recv",
    "isend",
    "irecv",
]
LRS = [1e-3, 2e-3, 3e-3, 2e-3, 1e-3]


def config(**others: Any) -> HDPiSSAConfig:
    """Four slices of rank 2 on every linear map."""
    return HDPiSSAConfig(**{"rank": 2, "num_slices": 4, "targets": ("*",), **others})


def run_process(rank: int, world_size: int, folder: str) -> None:
    """Join `world_size` processes through a file in `folder` and write this one's results there."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size)
    calls = _count_collectives()
    tensors, facts = train(calls)
    facts["over_rank"] = _message_of(lambda: inject(plain.make_network(), config(rank=4)))
    facts["uneven"] = _message_of(lambda: inject(plain.make_network(), config(num_slices=3)))
    save_file(tensors, Path(folder) / f"{rank}.safetensors")
    (Path(folder) / f"{rank}.json").write_text(json.dumps(facts))
    dist.destroy_process_group()


def train(calls: Counter[str]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights after five steps with each kind of message, the gathered state, collectives of each step."""
    tensors: dict[str, torch.Tensor] = {}
    facts: dict[str, Any] = {"steps": [], "setup": {}}
    for comm_dtype in ("native", "bfloat16"):
        network = plain.make_network(dtype=torch.float32)
        calls.clear()
        adapters = inject(network, config(comm_dtype=comm_dtype))
        facts["setup"] = dict(calls)
        optimizer = HDPiSSAOptimizer(adapters, lr=0.0)
        for shards, optimizer.lr in zip(plain.make_batches(5, 4, torch.float32), LRS, strict=True):
            calls.clear()
            feed(network, adapters, shards)
            optimizer.step()
            facts["steps"].append(dict(calls))
        state = optimizer.state_dict()
        tensors |= {f"{comm_dtype}.{name}": value for name, value in network.state_dict().items()}
        tensors |= {f"{comm_dtype}.{name}": state[name] for name in ("bases", "first_moment", "second_moment")}
    return tensors, facts


def feed(network: torch.nn.Module, adapters: Adapters, shards: list[plain.Batch]) -> None:
    """A backward pass of every hosted slice on its own rows."""
    for j in adapters.hosted_slices:
        with adapters.slice(j):
            plain.squared_error(network(shards[j][0]), shards[j][1]).backward()


def results(folder: Path, world_size: int) -> list[tuple[dict[str, torch.Tensor], dict[str, Any]]]:
    """What the processes wrote, by rank."""
    paths = [folder / str(rank) for rank in range(world_size)]
    return [(load_file(f"{path}.safetensors"), json.loads(Path(f"{path}.json").read_text())) for path in paths]


def _count_collectives() -> Counter[str]:
    calls: Counter[str] = Counter()

    def counted(name: str, function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return function(*args, **kwargs)

        return call

    for name in COLLECTIVES:
        setattr(dist, name, counted(name, getattr(dist, name)))
    return calls


def _message_of(action: Any) -> str:
    try:
        action()
    except ValueError as error:
        return str(error)
    return ""
