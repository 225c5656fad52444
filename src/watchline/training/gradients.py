"""All gradients of a network in one buffer: one collective, one norm, one clearing a step."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from watchline.training.distributed import all_reduce_sum


class Gradients:
    """Makes every parameter's `.grad` a view of one flat tensor, into which backward passes add."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        sizes = [parameter.numel() for parameter in trained]
        self.flat = torch.zeros(sum(sizes), dtype=trained[0].dtype, device=trained[0].device)
        for parameter, part in zip(trained, self.flat.split(sizes)):
            parameter.grad = part.view_as(parameter)

    def clear(self) -> None:
        """Back to zero, before a step's first backward pass."""
        self.flat.zero_()

    def sum_over_processes(self) -> None:
        """Add up the gradients of all processes; each then holds the sum."""
        all_reduce_sum(self.flat)

    def clip(self, max_norm: float) -> None:
        """Scale down to the Euclidean norm `max_norm` where it is larger."""
        norm = torch.linalg.vector_norm(self.flat)
        self.flat.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))
