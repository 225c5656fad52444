"""A running average of the weights, which validates better than the last ones and is what training keeps.

Polynomial-decay averaging: after step t the average moves by (eta + 1) / (t + eta) of the way to the weights, so that
about the last 1 / (eta + 1) of all steps so far count, however many there are. Source: Shamir & Zhang 2013, "Stochastic
gradient descent for non-smooth optimization".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Average of parameters with decay eta; with None it is the parameters themselves and costs nothing."""

    def __init__(self, parameters: Iterable[nn.Parameter], eta: float | None) -> None:
        self.parameters: list[Tensor] = (
            [parameter for parameter in parameters if parameter.requires_grad] if eta is not None else []
        )
        self.eta = eta or 0.0
        self.average = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` steps (from 1)."""
        if self.average:
            torch._foreach_lerp_(self.average, self.parameters, (self.eta + 1) / (step + self.eta))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the network has the averaged weights."""
        weights = [parameter.detach().clone() for parameter in self.parameters]
        self._set(self.average)
        try:
            yield
        finally:
            self._set(weights)

    def tensors(self) -> dict[str, Tensor]:
        """The average, for a checkpoint."""
        return {str(i): tensor for i, tensor in enumerate(self.average)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Undo `tensors`."""
        for i, tensor in enumerate(self.average):
            tensor.copy_(tensors[str(i)])

    @torch.no_grad()
    def _set(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values):
            parameter.copy_(value)
