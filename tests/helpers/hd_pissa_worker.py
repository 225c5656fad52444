"""What one gloo process does in the distributed tests of HD-PiSSA; results go to RANK.safetensors and RANK.json."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from tests.helpers import plain_hd_pissa as plain
from tests.helpers.processes import count_collectives
from tests.helpers.tuning import config, feed
from watchline.adapters.hd_pissa import inject
from watchline.adapters.optimizer import HDPiSSAOptimizer

LRS = [1e-3, 2e-3, 3e-3, 2e-3, 1e-3]
LOCAL: dict[str, dict[str, Any]] = {
    "native": {},
    "bfloat16": {"comm_dtype": "bfloat16"},
    **{f"weights.{master}": {"master": master} for master in ("fp32", "kahan", "stochastic")},
    **{f"both.{master}": {"master": master, "comm_dtype": "bfloat16"} for master in ("fp32", "kahan", "stochastic")},
}
MEAN: dict[str, dict[str, Any]] = {
    "mean": {"reduce": "mean"},
    "mean.bfloat16": {"reduce": "mean", "comm_dtype": "bfloat16"},
    **{f"mean.{master}": {"reduce": "mean", "master": master} for master in ("fp32", "kahan", "stochastic")},
}
CASES = {**LOCAL, **MEAN}


def run_process(rank: int, world_size: int, folder: str) -> None:
    """Join `world_size` processes through a file in `folder` and write this one's results there."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size)
    calls = count_collectives()
    tensors, facts = train(calls)
    facts["over_rank"] = _message_of(lambda: inject(plain.make_network(), config(rank=4)))
    facts["uneven"] = _message_of(lambda: inject(plain.make_network(), config(num_slices=3)))
    save_file(tensors, Path(folder) / f"{rank}.safetensors")
    (Path(folder) / f"{rank}.json").write_text(json.dumps(facts))
    dist.destroy_process_group()


def train(calls: Counter[str]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights after five steps and the gathered state, by case (CASE/NAME); collectives of each step."""
    tensors: dict[str, torch.Tensor] = {}
    facts: dict[str, Any] = {"steps": {}, "setup": {}}
    for case, settings in CASES.items():
        dtype = torch.bfloat16 if "master" in settings else torch.float32
        network = plain.make_network(dtype=dtype)
        calls.clear()
        adapters = inject(network, config(**settings))
        facts["setup"][case] = dict(calls)
        optimizer = HDPiSSAOptimizer(adapters, lr=0.0, seed=5)
        facts["steps"][case] = []
        for shards, optimizer.lr in zip(plain.make_batches(5, 4, dtype), LRS, strict=True):
            calls.clear()
            feed(network, adapters, shards)
            optimizer.step()
            facts["steps"][case].append(dict(calls))
        kept = network.state_dict() | optimizer.state_dict()
        tensors |= {f"{case}/{name}": value for name, value in kept.items() if isinstance(value, torch.Tensor)}
    return tensors, facts


def _message_of(action: Any) -> str:
    try:
        action()
    except ValueError as error:
        return str(error)
    return ""
