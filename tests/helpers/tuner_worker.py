"""What one gloo process does in the distributed tests of the tuners; results go to RANK.safetensors and RANK.json."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from tests.helpers.processes import count_collectives
from tests.helpers.tuning import METHODS, make_token_batches, make_token_network, settings, tune
from watchline.adapters.tuner import build_tuner

CASES = {
    f"{method}.{others}.{str(dtype).removeprefix('torch.')}": (method, others, dtype)
    for method in METHODS
    for others in ("frozen", "data_parallel")
    for dtype in (torch.float32, torch.bfloat16)
}


def run_process(rank: int, world_size: int, folder: str) -> None:
    """Join `world_size` processes through a file in `folder` and write this one's results there."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size)
    calls = count_collectives()
    torch.manual_seed(rank)  # no method may depend on it
    tensors, facts = train(calls)
    facts["uneven"] = {}
    for method in METHODS:
        try:
            build_tuner(make_token_network(), settings(method, num_slices=3))
        except ValueError as error:
            facts["uneven"][method] = str(error)
    save_file(tensors, Path(folder) / f"{rank}.safetensors")
    (Path(folder) / f"{rank}.json").write_text(json.dumps(facts))
    dist.destroy_process_group()


def train(calls: Counter[str]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """By case (CASE/NAME) the start, what three steps trained, its state, and the finished module."""
    tensors: dict[str, torch.Tensor] = {}
    facts: dict[str, Any] = {"steps": {}}
    for case, (method, others, dtype) in CASES.items():
        network = make_token_network(dtype)
        tuner = build_tuner(network, settings(method, others=others), seed=5)
        tensors |= {f"{case}/start/{name}": value for name, value in tuner.tensors().items()}
        facts["steps"][case] = []
        for shards in make_token_batches(3, 4, dtype):
            calls.clear()
            tune(network, tuner, [shards])
            facts["steps"][case].append(dict(calls))
        tensors |= {f"{case}/trained/{name}": value for name, value in tuner.tensors().items()}
        tensors |= {f"{case}/state/{name}": value for name, value in tuner.state_dict()["tensors"].items()}
        tensors |= {f"{case}/weights/{name}": value for name, value in tuner.weights().items()}
        tuner.finish()
        tensors |= {f"{case}/finished/{name}": value for name, value in network.state_dict().items()}
    return tensors, facts
