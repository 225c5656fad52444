"""Which linear maps of a model are adapted, and where each lies in the flat buffers of a slice."""

# m outputs, n inputs, r rank of a slice, K slices, P numbers of a slice in all weights

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Layer:
    """One adapted weight (m, n) and its columns [start, stop) of the flat buffers."""

    name: str
    weight: nn.Parameter
    rank: int
    start: int

    @property
    def stop(self) -> int:
        """First column of the next weight."""
        return self.start + self.rank * sum(self.weight.shape)

    def split(self, flat_P: Tensor) -> tuple[Tensor, Tensor]:
        """Views on this weight's A-like (r, n) and B^T-like (r, m) part of one slice's row."""
        m, n = self.weight.shape
        middle = self.start + self.rank * n
        return flat_P[self.start : middle].view(self.rank, n), flat_P[middle : self.stop].view(self.rank, m)

    def stack(self, flat_KP: Tensor) -> tuple[Tensor, Tensor]:
        """This weight's parts of all slices, stacked: (K r, n) and (K r, m)."""
        m, n = self.weight.shape
        middle = self.start + self.rank * n
        return flat_KP[:, self.start : middle].reshape(-1, n), flat_KP[:, middle : self.stop].reshape(-1, m)


def select_linears(module: nn.Module, patterns: Sequence[str]) -> dict[str, nn.Linear]:
    """The nn.Linear modules whose name, or the end of it, matches a glob, in the order of the module.

    Raises ValueError when a pattern matches nothing and when a match cannot be adapted, saying what to do.
    """
    chosen = linears_matching(module, patterns)
    named = dict(module.named_modules(remove_duplicate=False))
    for name, linear in chosen.items():
        _check_adaptable(name, linear, named)
    _check_untied(chosen, module)
    return chosen


def linears_matching(module: nn.Module, patterns: Sequence[str]) -> dict[str, nn.Linear]:
    """The same, whether an adapter could take them or not; raises ValueError when a pattern matches nothing."""
    named = dict(module.named_modules(remove_duplicate=False))
    linears = {name: child for name, child in named.items() if isinstance(child, nn.Linear)}
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in linears):
            others = [f"{name} ({type(child).__name__})" for name, child in named.items() if _matches(name, pattern)]
            found = f"it matches only {', '.join(others[:5])}" if others else "it matches no module"
            raise ValueError(f"target {pattern!r}: {found}; the nn.Linear modules are {', '.join(linears) or 'none'}")
    return {name: child for name, child in linears.items() if any(_matches(name, pattern) for pattern in patterns)}


def _matches(name: str, pattern: str) -> bool:
    return bool(name) and (fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}"))


def _check_adaptable(name: str, linear: nn.Linear, named: dict[str, nn.Module]) -> None:
    """Raise ValueError for a layer whose forward pass or weight is not that of a plain nn.Linear."""
    parent = named[name.rpartition(".")[0]]
    if isinstance(parent, nn.MultiheadAttention):
        raise ValueError(
            f"{name}: nn.MultiheadAttention hands its raw weights to a function, so an adapted layer would be ignored; "
            "use an attention with separate q, k, v, o nn.Linear modules, or leave it out of the targets"
        )
    if not linear.weight.is_floating_point():
        raise ValueError(f"{name}: the weight is quantised ({linear.weight.dtype}); load the model unquantised")
    if type(linear) is not nn.Linear:
        raise ValueError(
            f"{name}: a {type(linear).__name__}, not a plain nn.Linear; remove other adapters or wrappers first, "
            "or leave it out of the targets"
        )
    if linear.weight.dtype not in (torch.bfloat16, torch.float32, torch.float64):
        raise ValueError(
            f"{name}: {linear.weight.dtype} has too small a range for raw sums of gradients; "
            "load the model in bfloat16 or float32"
        )


def _check_untied(chosen: dict[str, nn.Linear], module: nn.Module) -> None:
    """Raise ValueError for a weight that another layer shares, and for weights of mixed dtype or device."""
    owners: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        owners.setdefault(parameter.data_ptr(), []).append(name)
    for name, linear in chosen.items():
        shared = owners[linear.weight.data_ptr()]
        if len(shared) > 1:
            raise ValueError(
                f"{name}: its weight is tied ({', '.join(shared)}), so the slices would see only a part of its "
                "gradient; untie it (give the layer a clone of the weight) or leave it out of the targets"
            )
    kinds = sorted({f"{linear.weight.dtype} on {linear.weight.device}" for linear in chosen.values()})
    if len(kinds) > 1:
        raise ValueError(f"the targeted weights are of several kinds ({', '.join(kinds)}); convert or move them to one")


def lay_out(linears: dict[str, nn.Linear], num_slices: int, rank: int, *, clamp: bool) -> tuple[list[Layer], list[str]]:
    """Layers one after another in the flat buffers, and one line for each weight whose rank was clamped.

    Raises ValueError naming every weight with num_slices * rank > min(m, n), unless `clamp`.
    """
    over = {name: min(linear.weight.shape) for name, linear in linears.items()}
    over = {name: limit for name, limit in over.items() if num_slices * rank > limit}
    hopeless = [name for name, limit in over.items() if limit < num_slices]
    if over and (hopeless or not clamp):
        listed = ", ".join(f"{name} ({linears[name].out_features} x {linears[name].in_features})" for name in over)
        raise ValueError(
            f"num_slices * rank = {num_slices} * {rank} = {num_slices * rank} exceeds the smaller side of {listed}; "
            "lower rank or num_slices, leave these out of targets, or set over_rank=clamp (needs a side >= num_slices)"
        )
    layers: list[Layer] = []
    start = 0
    for name, linear in linears.items():
        clamped_rank = min(rank, min(linear.weight.shape) // num_slices)
        layers.append(Layer(name, linear.get_parameter("weight"), clamped_rank, start))
        start = layers[-1].stop
    clamped = [f"{layer.name} to {layer.rank}" for layer in layers if layer.rank < rank]
    return layers, clamped
