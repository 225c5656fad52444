"""HD-PiSSA written from its formulas: autograd on explicit factors, loops over slices. Slow and plain."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
Batch = tuple[Tensor, Tensor]
Model = Callable[[list[Tensor], Tensor], Tensor]


def make_network(seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """Three linear maps, one without bias, none square."""
    generator = torch.Generator().manual_seed(seed)
    network = nn.Sequential(nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 16, bias=False), nn.Tanh(), nn.Linear(16, 24))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5)
    return network.to(dtype)


def make_batches(num_steps: int, num_slices: int, dtype: torch.dtype = torch.float64) -> list[list[Batch]]:
    """[step][slice] -> x (4, 3, 12), target (4, 3, 24), different for each."""
    generator = torch.Generator().manual_seed(1)

    def draw(width: int) -> Tensor:
        return torch.randn(4, 3, width, generator=generator, dtype=torch.float64).to(dtype)

    return [[(draw(12), draw(24)) for _ in range(num_slices)] for _ in range(num_steps)]


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean over every number."""
    return (prediction - target).square().mean()


def linears(network: nn.Sequential) -> list[nn.Linear]:
    """The linear maps in order."""
    return [layer for layer in network if isinstance(layer, nn.Linear)]


def factors(weight: Tensor, rank: int, num_slices: int) -> list[list[Tensor]]:
    """[slice] -> [A_j (r, n), B_j (m, r)] from the full decomposition."""
    u, s, vt = torch.linalg.svd(weight.double(), full_matrices=False)
    slices = [slice(j * rank, (j + 1) * rank) for j in range(num_slices)]
    return [[s[c].sqrt()[:, None] * vt[c], u[:, c] * s[c].sqrt()] for c in slices]


def train(
    network: nn.Sequential,
    batches: list[list[Batch]],
    rank: int,
    lrs: list[float],
    scale: float = 1.0,
    mean: bool = False,
) -> None:
    """Move the weights of `network` in place, a learning rate per step; `mean`: every slice sees all shards."""
    layers, num_slices, dtype = linears(network), len(batches[0]), next(network.parameters()).dtype
    bases = [[[f.to(dtype) for f in pair] for pair in factors(x.weight.detach(), rank, num_slices)] for x in layers]
    moments: dict[tuple[int, int, int], tuple[Tensor, Tensor]] = {}
    for t, (lr, shards) in enumerate(zip(lrs, batches, strict=True), start=1):
        updates = [torch.zeros_like(layer.weight) for layer in layers]
        for j in range(num_slices):
            leaves = [[f.clone().requires_grad_() for f in basis[j]] for basis in bases]
            seen = shards if mean else [shards[j]]
            for hidden, target in seen:
                for layer, (a, b) in zip(layers, leaves, strict=True):
                    product = b @ a
                    moved = layer.weight.detach() + scale * (product - product.detach())
                    hidden = nn.functional.linear(hidden, moved, None if layer.bias is None else layer.bias.detach())
                    hidden = hidden if layer is layers[-1] else torch.tanh(hidden)
                (squared_error(hidden, target) / len(seen)).backward()
            for i, pair in enumerate(leaves):
                steps = []
                for k, leaf in enumerate(pair):
                    first, second = moments.get((i, j, k), (torch.zeros_like(leaf), torch.zeros_like(leaf)))
                    first = BETA1 * first + (1 - BETA1) * leaf.grad
                    second = BETA2 * second + (1 - BETA2) * leaf.grad**2
                    moments[i, j, k] = (first, second)
                    steps.append(lr * (first / (1 - BETA1**t)) / ((second / (1 - BETA2**t)).sqrt() + EPS))
                (a, b), (da, db) = bases[i][j], steps
                updates[i] -= scale * (db @ a + b @ da - db @ da)
        with torch.no_grad():
            for layer, update in zip(layers, updates, strict=True):
                layer.weight += update
