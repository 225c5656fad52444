"""HD-PiSSA as its public code goes about it, to measure against: the same operations, in our own words.

Every process decomposes every weight in full. Every forward pass multiplies B by A and sends x through the product as
through a weight of its own, so small that it changes no bit of the output; autograd then forms that weight's (m, n)
gradient on the way to those of the two factors. A step gathers A, B and their steps layer by layer, though A and B
never change. Source of the operations: METHODS section 4 and the public code (hd_pissa.py of MuLabPKU/HD-PiSSA).
"""

# m outputs, n inputs, r rank of a slice; slice j belongs to process j

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
TINY = 1e-16  # of the product in the forward pass; the gradients of the factors are divided by it again


class ReferenceLinear(nn.Module):
    """A linear map whose value is that of the full W (m, n) and whose gradients reach A (r, n) and B (m, r)."""

    def __init__(self, linear: nn.Linear, rank: int, slice_index: int, full_svd: bool) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        taken = slice(slice_index * rank, (slice_index + 1) * rank)
        with torch.no_grad():
            if full_svd:
                left_mk, singular_k, right_kn = torch.linalg.svd(linear.weight, full_matrices=False)
            else:
                left_mk, singular_k, right_nk = torch.svd_lowrank(linear.weight, q=taken.stop, niter=1)
                right_kn = right_nk.T
            root_r = singular_k[taken].sqrt()
            # Clones: views would keep the whole decomposition in memory.
            self.a_rn = nn.Parameter((root_r[:, None] * right_kn[taken]).clone())
            self.b_mr = nn.Parameter((left_mk[:, taken] * root_r).contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """x W^T + x (tiny B A)^T."""
        product_mn = (self.b_mr @ self.a_rn) * TINY
        return functional.linear(x, self.weight, self.bias) + functional.linear(x, product_mn)


class ReferenceHDPiSSA:
    """The adapted layers of a model and their optimizer, one slice a process of the default group.

    `full_svd=False` takes a cheap randomised decomposition instead, for measurements that do not look at the bases.
    """

    def __init__(self, model: nn.Module, targets: Sequence[str], rank: int, lr: float, full_svd: bool = True) -> None:
        self.lr, self.num_steps = lr, 0
        self.layers: list[ReferenceLinear] = []
        model.requires_grad_(False)
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if name in targets and isinstance(child, nn.Linear):
                    layer = ReferenceLinear(child, rank, dist.get_rank(), full_svd)
                    setattr(parent, name, layer)
                    self.layers.append(layer)
        factors = [factor for layer in self.layers for factor in (layer.a_rn, layer.b_mr)]
        self.moments = {factor: (torch.zeros_like(factor), torch.zeros_like(factor)) for factor in factors}

    @torch.no_grad()
    def step(self) -> None:
        """Adam on this process's factors; then, layer by layer, four gathers and the sum over the slices."""
        self.num_steps += 1
        for layer in self.layers:
            da_rn, db_mr = self.adam_step(layer.a_rn), self.adam_step(layer.b_mr)
            gathered = [gather(tensor) for tensor in (layer.a_rn, layer.b_mr, da_rn, db_mr)]
            delta_mn = torch.zeros_like(layer.weight)
            for a, b, da, db in zip(*gathered):
                delta_mn += db @ a + b @ da - db @ da
            layer.weight -= delta_mn
            layer.a_rn.grad = layer.b_mr.grad = None

    def adam_step(self, factor: nn.Parameter) -> Tensor:
        """What Adam would take from the factor."""
        assert factor.grad is not None
        gradient, (first, second) = factor.grad / TINY, self.moments[factor]
        first.mul_(BETA1).add_((1 - BETA1) * gradient)
        second.mul_(BETA2).add_((1 - BETA2) * gradient**2)
        corrected = first / (1 - BETA1**self.num_steps)
        return self.lr * corrected / ((second / (1 - BETA2**self.num_steps)).sqrt() + EPS)


def gather(tensor: Tensor) -> list[Tensor]:
    """The tensor of every process, in rank order."""
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return parts
