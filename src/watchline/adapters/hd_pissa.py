"""HD-PiSSA: high-rank fine-tuning of linear maps, each slice of singular triples fed by its own shard of the data.

Method: Wang et al., "HD-PiSSA: High-Rank Distributed Orthogonal Adaptation", EMNLP 2025, arXiv 2505.18777.
A weight W (m, n) has num_slices slices of `rank` singular triples, A_j (r, n) and B_j (m, r), which never move. Slice j
sees its own rows: gA_j = (gy B_j)^T x and gB_j = gy^T (x A_j^T) from the layer's input x and output gradient gy. The
optimizer (optimizer.py) turns them into steps of the full W, so the forward pass stays the plain linear map.

    adapters = inject(model, HDPiSSAConfig(rank=8, num_slices=4, targets=("q_proj", "v_proj")))
    optimizer = HDPiSSAOptimizer(adapters, lr=1e-4)
    for j in adapters.hosted_slices:              # num_slices / world_size of them on every process
        with adapters.slice(j):
            loss_of(model, batch_of(j)).backward()
    optimizer.step()                              # one collective; every process ends with the same weights
"""

# m outputs, n inputs, r rank of a slice, K slices, h slices hosted by this process, P numbers of a slice in all weights

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from watchline.adapters.bases import Method, balanced_bases
from watchline.adapters.collective import Collective
from watchline.adapters.targets import Layer, lay_out, select_linears
from watchline.config import Config

DecayRate = Annotated[float, Field(ge=0, lt=1)]


class HDPiSSAConfig(Config):
    """What is adapted and how; numbers of processes are no part of it."""

    rank: int = Field(ge=1, description="singular triples of one slice (r)")
    num_slices: int = Field(ge=1, description="slices of every weight (K), each with its own rows of a step")
    targets: tuple[str, ...] = Field(min_length=1, description="globs on module names or their last parts; * is all")
    bases: Method = Field("eigh", description="exact by eigh of the Gram matrix or svd in float64, or randomised")
    lowrank_iterations: int = Field(4, ge=0, description="power iterations of bases=lowrank")
    reduce: Literal["local"] = Field("local", description="a slice's gradient comes from its own rows, as in the paper")
    over_rank: Literal["error", "clamp"] = Field("error", description="when num_slices * rank > min(m, n)")
    alpha: float | None = Field(None, gt=0, description="scale of the update times rank; None is rank, a scale of 1")
    betas: tuple[DecayRate, DecayRate] = Field((0.9, 0.999), description="Adam's decay rates of its two moments")
    eps: float = Field(1e-8, gt=0, description="Adam's floor under the root of the second moment")
    comm_dtype: Literal["native", "bfloat16"] = Field("native", description="what the steps travel and are applied in")

    @property
    def scale(self) -> float:
        """alpha / rank, in floating point."""
        return 1.0 if self.alpha is None else self.alpha / self.rank


class Adapters:
    """The adapted weights of one model: layout, bases, captured gradients and which slice is being fed.

    `bases` is (K, P), `gradients` (h, P): per weight A_j (r, n) then B_j^T (r, m), flat, weights one after another.
    """

    def __init__(self, config: HDPiSSAConfig, layers: list[Layer], collective: Collective) -> None:
        if config.num_slices % collective.size:
            raise ValueError(
                f"num_slices={config.num_slices} does not divide over {collective.size} processes; "
                f"use a number of processes that divides it"
            )
        self.config = config
        self.layers = layers
        self.collective = collective
        hosted = config.num_slices // collective.size
        self.hosted_slices = range(collective.rank * hosted, (collective.rank + 1) * hosted)
        reference, size = layers[0].weight, layers[-1].stop
        self.bases = torch.zeros(config.num_slices, size, dtype=reference.dtype, device=reference.device)
        self.gradients = torch.zeros(hosted, size, dtype=reference.dtype, device=reference.device)
        self.num_backwards = [0] * hosted
        self.frozen: list[nn.Parameter] = []  # what `remove` unfreezes
        self._active: int | None = self.hosted_slices[0] if hosted == 1 else None

    @contextmanager
    def slice(self, index: int) -> Iterator[None]:
        """Feed slice `index` with the forward passes inside; raises ValueError when another process hosts it."""
        if index not in self.hosted_slices:
            raise ValueError(f"slice {index} is not hosted here; rank {self.collective.rank} has {self.hosted_slices}")
        previous, self._active = self._active, index
        try:
            yield
        finally:
            self._active = previous

    @property
    def active_slice(self) -> int:
        """The slice being fed; raises RuntimeError when several are hosted and none was named."""
        if self._active is None:
            raise RuntimeError(
                f"this process hosts slices {list(self.hosted_slices)}: run it inside `with adapters.slice(j)`"
            )
        return self._active

    def capture(self, layer: Layer, slice_index: int, x_Bn: Tensor, gy_Bm: Tensor) -> None:
        """Add a pass's gA_j and gB_j^T to the sums of a hosted slice; B rows of any number of leading dimensions."""
        a_rn, bt_rm = layer.split(self.bases[slice_index])
        hosted = slice_index - self.hosted_slices.start
        ga_rn, gbt_rm = layer.split(self.gradients[hosted])
        ga_rn += (gy_Bm @ bt_rm.T.to(gy_Bm.dtype)).T @ x_Bn
        gbt_rm += (x_Bn @ a_rn.T.to(x_Bn.dtype)).T @ gy_Bm
        self.num_backwards[hosted] += 1

    def zero_grad(self) -> None:
        """Forget the captured gradients."""
        self.gradients.zero_()
        self.num_backwards = [0] * len(self.num_backwards)

    def compute_bases(self) -> None:
        """Decompose every weight once: weights dealt over the processes, results broadcast."""
        config = self.config
        for i, layer in enumerate(self.layers):
            owner = i % self.collective.size
            part_KP = torch.zeros_like(self.bases[:, layer.start : layer.stop], memory_format=torch.contiguous_format)
            if owner == self.collective.rank:
                rank = config.num_slices * layer.rank
                a_Rn, bt_Rm = balanced_bases(layer.weight, rank, config.bases, config.lowrank_iterations)
                flat = (a_Rn.reshape(config.num_slices, -1), bt_Rm.reshape(config.num_slices, -1))
                part_KP.copy_(torch.cat(flat, dim=1))
            self.collective.broadcast(part_KP, source=owner)
            self.bases[:, layer.start : layer.stop] = part_KP


class SlicedLinear(nn.Linear):
    """nn.Linear whose backward pass feeds a slice instead of forming the gradient of its weight."""

    adapters: Adapters
    layer: Layer

    def forward(self, input: Tensor) -> Tensor:
        """The linear map, bit for bit that of nn.Linear."""
        if not torch.is_grad_enabled():
            return functional.linear(input, self.weight, self.bias)
        y: Tensor = _CapturedLinear.apply(
            input, self.weight, self.bias, self.adapters, self.layer, self.adapters.active_slice
        )
        return y


class _CapturedLinear(torch.autograd.Function):
    """The linear map with low-rank products in place of the weight's gradient.

    The weight is an input that requires a gradient and gets none: so the pass is recorded even when x needs no
    gradient, and a gradient on the weight betrays that something other than the layer has used it.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, adapters: Adapters, layer: Layer, slice_index: int
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.adapters, ctx.layer, ctx.slice_index = adapters, layer, slice_index
        return functional.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gy_Bm = gy.reshape(-1, gy.shape[-1])
        ctx.adapters.capture(ctx.layer, ctx.slice_index, x.reshape(-1, x.shape[-1]).to(gy.dtype), gy_Bm)
        gx = (gy @ weight.to(gy.dtype)).to(x.dtype) if ctx.needs_input_grad[0] else None
        gbias = gy_Bm.sum(0) if ctx.needs_input_grad[2] else None
        return gx, None, gbias, None, None, None


def inject(module: nn.Module, config: HDPiSSAConfig, group: dist.ProcessGroup | None = None) -> Adapters:
    """Adapt the targeted nn.Linear of `module` in place, freeze its other parameters, compute the bases.

    Names, parameters and `state_dict` of the module stay as they are. Every process of `group` calls this with the same
    module and config. Raises ValueError (on every process alike) when a target cannot be adapted, when num_slices *
    rank exceeds min(m, n) of a weight with over_rank=error, or when num_slices does not divide over the processes.
    """
    linears = select_linears(module, config.targets)
    layers, clamped = lay_out(linears, config.num_slices, config.rank, clamp=config.over_rank == "clamp")
    adapters = Adapters(config, layers, Collective(group))
    if clamped:
        warnings.warn(f"rank {config.rank} is clamped: {'; '.join(clamped)}", stacklevel=2)
    adapters.compute_bases()
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.requires_grad_(False)
            adapters.frozen.append(parameter)
    for layer in layers:
        layer.weight.requires_grad_(True)
        linear: Any = linears[layer.name]
        # The class changes in place: whoever else holds the layer gets the capturing one too.
        linear.__class__ = SlicedLinear
        linear.adapters, linear.layer = adapters, layer
    return adapters


def remove(module: nn.Module) -> None:
    """Make every adapted layer a plain nn.Linear again, with the weights as they are now, and undo the freezing."""
    for child in module.modules():
        if isinstance(child, SlicedLinear):
            linear: Any = child
            for parameter in linear.adapters.frozen:
                parameter.requires_grad_(True)
            del linear.adapters, linear.layer
            linear.weight.grad = None
            linear.__class__ = nn.Linear
