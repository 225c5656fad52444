"""Random numbers and thread counts that make a CPU run repeat byte for byte."""

from __future__ import annotations

import os

import numpy as np
import torch


def seed_everything(seed: int, num_threads: int) -> None:
    """Seed torch, demand deterministic kernels and fix the thread count (sums depend on how work is split)."""
    # CUDA has no deterministic form of some operations, and of others only with this workspace; the promise of equal
    # bytes is the CPU's.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    torch.set_num_threads(num_threads)
    torch.manual_seed(seed)


def derived_seed(*parts: int) -> int:
    """A seed for one purpose (seed, epoch, ...), independent of those of all other parts that are equally many.

    Zeros at the end do not count: (1, 2) and (1, 2, 0) give the same seed.
    """
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
