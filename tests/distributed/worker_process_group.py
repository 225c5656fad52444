"""What each rank of tests/distributed/test_process_group.py runs; prints one line of JSON."""

from __future__ import annotations

import json
import sys

import torch

from watchline.training.distributed import all_gather, all_reduce_sum, process_group, raise_together


def main() -> None:
    with process_group("cpu") as processes:
        gathered = all_gather(torch.tensor([float(processes.rank)]))
        total = torch.tensor([2.0 * processes.rank + 1.0])
        all_reduce_sum(total)
        message = ""
        try:
            raise_together(ValueError("broken") if processes.rank == 1 else None)
        except (ValueError, RuntimeError) as error:
            message = f"{type(error).__name__}: {error}"
        result = {
            "rank": processes.rank,
            "gathered": gathered.flatten().tolist(),
            "sum": total.item(),
            "message": message,
        }
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
