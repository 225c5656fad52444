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

# m outputs, n inputs, r rank of a slice, K slices, h slices hosted by this process, B rows of a pass,
# P numbers of a slice in all weights

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from typing import Annotated, Any, Literal

import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from watchline.adapters.bases import Method, balanced_bases
from watchline.adapters.collective import Collective
from watchline.adapters.master import Master
from watchline.adapters.shards import Shards
from watchline.adapters.targets import Layer, lay_out, select_linears
from watchline.config import Config

DecayRate = Annotated[float, Field(ge=0, lt=1)]
Others = Literal["frozen", "data_parallel"]


class HDPiSSAConfig(Config):
    """What is adapted and how; numbers of processes are no part of it."""

    method: Literal["hd_pissa"] = "hd_pissa"
    rank: int = Field(ge=1, description="singular triples of one slice (r)")
    num_slices: int = Field(ge=1, description="slices of every weight (K), each with its own rows of a step")
    targets: tuple[str, ...] = Field(min_length=1, description="globs on module names or their last parts; * is all")
    others: Others = Field("frozen", description="all parameters but the targeted weights: frozen, or left trainable")
    bases: Method = Field("eigh", description="exact by eigh of the Gram matrix or svd in float64, or randomised")
    lowrank_iterations: int = Field(4, ge=0, description="power iterations of bases=lowrank")
    reduce: Literal["local", "mean"] = Field(
        "local", description="a slice's gradient comes from its own rows, as in the paper, or from the rows of all"
    )
    over_rank: Literal["error", "clamp"] = Field("error", description="when num_slices * rank > min(m, n)")
    alpha: float | None = Field(None, gt=0, description="scale of the update times rank; None is rank, a scale of 1")
    betas: tuple[DecayRate, DecayRate] = Field((0.9, 0.999), description="Adam's decay rates of its two moments")
    eps: float = Field(1e-8, gt=0, description="Adam's floor under the root of the second moment")
    comm_dtype: Literal["native", "bfloat16"] = Field("native", description="what the steps travel and are applied in")
    master: Master = Field(
        "fp32", description="how a bfloat16 weight takes small updates: float32 copy, Kahan sum, stochastic rounding"
    )

    @property
    def scale(self) -> float:
        """alpha / rank, in floating point."""
        return 1.0 if self.alpha is None else self.alpha / self.rank


class Adapters:
    """The adapted weights of one model: layout, bases, captured gradients and which slice is being fed.

    `bases` is (K, P): per weight A_j (r, n) then B_j^T (r, m), flat, weights one after another, in float32 or the wider
    dtype of the weights. `gradients` holds raw sums in the same layout: (h, P) with reduce=local, where slice j sees
    the rows of shard j, and (K, P) with reduce=mean, where every slice sees the rows of all shards hosted here.
    """

    def __init__(self, config: HDPiSSAConfig, layers: list[Layer], collective: Collective) -> None:
        self.config, self.layers, self.collective = config, layers, collective
        self.shards = Shards(config.num_slices, collective)
        reference, size = layers[0].weight, layers[-1].stop
        dtype = torch.promote_types(reference.dtype, torch.float32)
        self.bases = torch.zeros(config.num_slices, size, dtype=dtype, device=reference.device)
        rows = config.num_slices if config.reduce == "mean" else len(self.shards.hosted)
        self.gradients = torch.zeros(rows, size, dtype=dtype, device=reference.device)
        self.num_backwards = [0] * len(self.shards.hosted)
        self.frozen: list[nn.Parameter] = []  # what `remove` unfreezes

    @property
    def hosted_slices(self) -> range:
        """Slices this process feeds and steps: num_slices / world_size of them."""
        return self.shards.hosted

    def slice(self, index: int) -> AbstractContextManager[None]:
        """Feed slice `index` with the passes inside; raises ValueError when another process hosts it."""
        return self.shards.feed(index)

    def capture(self, layer: Layer, slice_index: int, x_Bn: Tensor, gy_Bm: Tensor) -> None:
        """Add a pass's gA_j and gB_j^T to the sums; x and gy are of one dtype."""
        row = slice_index - self.shards.hosted.start
        self.num_backwards[row] += 1
        if self.config.reduce == "local":
            bases, sums = layer.split(self.bases[slice_index]), layer.split(self.gradients[row])
            _add_projections(*sums, *bases, x_Bn, gy_Bm)
            return
        for basis_P, sum_P in zip(self.bases, self.gradients):
            _add_projections(*layer.split(sum_P), *layer.split(basis_P), x_Bn, gy_Bm)

    def zero_grad(self) -> None:
        """Forget the captured gradients."""
        self.gradients.zero_()
        self.num_backwards = [0] * len(self.num_backwards)

    def compute_bases(self) -> None:
        """Decompose every weight once: weights dealt over the processes by cost, one broadcast from each process."""
        owned = deal_by_cost([_decomposition_cost(layer) for layer in self.layers], self.collective.size)
        for owner, indices in enumerate(owned):
            layers = [self.layers[i] for i in indices]
            if owner == self.collective.rank:
                for layer in layers:
                    self.bases[:, layer.start : layer.stop] = self._decompose(layer)
        for owner, indices in enumerate(owned):
            self._broadcast([self.layers[i] for i in indices], owner)

    def _decompose(self, layer: Layer) -> Tensor:
        """A and B^T of all slices of one weight, flat, (K, columns of the layer)."""
        config = self.config
        a_Rn, bt_Rm = balanced_bases(
            layer.weight.to(self.bases.dtype), config.num_slices * layer.rank, config.bases, config.lowrank_iterations
        )
        return torch.cat((a_Rn.reshape(config.num_slices, -1), bt_Rm.reshape(config.num_slices, -1)), dim=1)

    def _broadcast(self, layers: list[Layer], owner: int) -> None:
        if self.collective.size == 1 or not layers:
            return
        packed = torch.cat([self.bases[:, layer.start : layer.stop] for layer in layers], dim=1)
        self.collective.broadcast(packed, source=owner)
        for layer, part in zip(layers, packed.split([layer.stop - layer.start for layer in layers], dim=1)):
            self.bases[:, layer.start : layer.stop] = part


def _add_projections(ga_rn: Tensor, gbt_rm: Tensor, a_rn: Tensor, bt_rm: Tensor, x_Bn: Tensor, gy_Bm: Tensor) -> None:
    """ga += (gy B)^T x and gb^T += (x A^T)^T gy, the products in the dtype of the pass."""
    for sum_rk, basis_rl, left_Bl, right_Bk in ((ga_rn, bt_rm, gy_Bm, x_Bn), (gbt_rm, a_rn, x_Bn, gy_Bm)):
        projected_rB = (left_Bl @ basis_rl.T.to(left_Bl.dtype)).T
        if sum_rk.dtype == right_Bk.dtype:
            sum_rk.addmm_(projected_rB, right_Bk)
        else:
            sum_rk += projected_rB @ right_Bk


def _decomposition_cost(layer: Layer) -> int:
    m, n = layer.weight.shape
    return m * n * min(m, n)


def deal_by_cost(costs: list[int], num_processes: int) -> list[list[int]]:
    """Indices for each process, the dearest first to whoever has least; alike on every process."""
    dealt: list[list[int]] = [[] for _ in range(num_processes)]
    load = [0] * num_processes
    for index in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        owner = load.index(min(load))
        dealt[owner].append(index)
        load[owner] += costs[index]
    return [sorted(indices) for indices in dealt]


class SlicedLinear(nn.Linear):
    """nn.Linear whose backward pass feeds a slice instead of forming the gradient of its weight."""

    adapters: Adapters
    layer: Layer

    def forward(self, input: Tensor) -> Tensor:
        """The linear map, bit for bit that of nn.Linear."""
        if not torch.is_grad_enabled():
            return functional.linear(input, self.weight, self.bias)
        y: Tensor = _CapturedLinear.apply(
            input, self.weight, self.bias, self.adapters, self.layer, self.adapters.shards.active
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
    """Adapt the targeted nn.Linear of `module` in place, freeze its other parameters (`others`), compute the bases.

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
    adapted = {id(layer.weight) for layer in layers}
    for parameter in module.parameters():
        if parameter.requires_grad and (config.others == "frozen" or id(parameter) in adapted):
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
    adapted: list[Any] = [child for child in module.modules() if isinstance(child, SlicedLinear)]
    trainable = [parameter for linear in adapted[:1] for parameter in linear.adapters.frozen]
    for linear in adapted:
        del linear.adapters, linear.layer
        linear.weight.grad = None
        linear.weight.requires_grad_(False)
        linear.__class__ = nn.Linear
    for parameter in trainable:
        parameter.requires_grad_(True)
