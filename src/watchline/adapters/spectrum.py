"""What fine-tuning did to a weight: size, singular spectrum and rank of its update."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

ENERGY_SHARE = 0.99


@dataclass(frozen=True)
class Update:
    """Delta W of one weight (m, n): Frobenius norm, the same over that of the weight, and singular values, falling.

    `numerical_rank` counts singular values above the rounding noise of the steps; `energy_rank` is how many of the
    largest hold 99 % of the squared norm.
    """

    name: str
    shape: tuple[int, int]
    rank_per_slice: int
    norm: float
    relative_norm: float
    numerical_rank: int
    energy_rank: int
    singular_values: tuple[float, ...]


def measure_update(name: str, before_mn: Tensor, after_mn: Tensor, rank_per_slice: int, num_steps: int) -> Update:
    """Compare a weight before and after `num_steps` optimizer steps."""
    before, delta = before_mn.double().cpu(), after_mn.double().cpu() - before_mn.double().cpu()
    singular = torch.linalg.svdvals(delta)
    norm = float(delta.norm())
    noise = rounding_noise(before_mn, num_steps)
    energy = (singular.square().cumsum(0) / max(norm**2, torch.finfo(torch.float64).tiny)).tolist()
    return Update(
        name=name,
        shape=(before_mn.shape[0], before_mn.shape[1]),
        rank_per_slice=rank_per_slice,
        norm=norm,
        relative_norm=norm / max(float(before.norm()), torch.finfo(torch.float64).tiny),
        numerical_rank=int((singular > noise).sum()),
        energy_rank=1 + sum(share < ENERGY_SHARE for share in energy) if norm > noise else 0,
        singular_values=tuple(singular.tolist()),
    )


def rounding_noise(weight_mn: Tensor, num_steps: int) -> float:
    """Twice the spectral norm to expect of the rounding errors of `num_steps` additions to a weight.

    Errors are taken as independent, with standard deviation eps / 2 times the root mean square of the weight; the
    largest singular value of such an (m, n) matrix is about (sqrt m + sqrt n) standard deviations.
    """
    m, n = weight_mn.shape
    root_mean_square = float(weight_mn.double().norm()) / math.sqrt(m * n)
    deviation = 0.5 * torch.finfo(weight_mn.dtype).eps * root_mean_square * math.sqrt(num_steps)
    return 2 * deviation * (math.sqrt(m) + math.sqrt(n))
