"""What each rank of tests/distributed/test_process_group.py runs; prints one line of JSON."""

from __future__ import annotations

import json
import sys

import torch

from watchline.training.distributed import (
    all_gather,
    all_reduce_mean,
    barrier,
    broadcast_module,
    process_group,
    raise_together,
)


def main() -> None:
    with process_group("cpu") as processes:
        torch.manual_seed(processes.rank)
        layer = torch.nn.Linear(2, 2)
        broadcast_module(layer)
        gathered = all_gather(torch.tensor([float(processes.rank)]))
        mean = all_reduce_mean(torch.tensor([2.0 * processes.rank]))
        message = ""
        try:
            raise_together(ValueError("broken") if processes.rank == 1 else None)
        except (ValueError, RuntimeError) as error:
            message = f"{type(error).__name__}: {error}"
        barrier()
        result = {
            "rank": processes.rank,
            "gathered": gathered.flatten().tolist(),
            "mean": mean.item(),
            "weight": layer.weight.flatten().tolist(),
            "message": message,
        }
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
