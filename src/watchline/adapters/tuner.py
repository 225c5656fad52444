"""HD-PiSSA, LoRA, PiSSA and full fine-tuning behind one interface, on the same shards of data.

tuner = build_tuner(model, HDPiSSAConfig(rank=8, num_slices=4, targets=("q_proj", "v_proj")), seed=1)
for j in tuner.hosted_slices:
    with tuner.slice(j):
        loss_of(model, batch_of(j)).backward()
tuner.step(lr)
tuner.finish()                                # a plain module again, everything merged
"""

# m outputs, n inputs, K shards of a step's rows (slices of HD-PiSSA)

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Annotated, Any, Literal, Self

import torch
import torch.distributed as dist
from pydantic import Field, model_validator
from torch import Tensor, nn

from watchline.adapters.collective import Collective
from watchline.adapters.data_parallel import DataParallel
from watchline.adapters.hd_pissa import DecayRate, HDPiSSAConfig, Others, inject, remove
from watchline.adapters.optimizer import HDPiSSAOptimizer
from watchline.adapters.peft_layers import PeftLayers
from watchline.adapters.shards import Shards
from watchline.adapters.targets import linears_matching, select_linears
from watchline.config import Config


class DataParallelConfig(Config):
    """What the methods share that average gradients over the shards."""

    num_slices: int = Field(ge=1, description="shards of a step's rows, over which gradients are averaged")
    targets: tuple[str, ...] = Field(min_length=1, description="globs on module names or their last parts; * is all")
    others: Others = Field("frozen", description="all parameters but the targeted weights: frozen, or trained too")
    betas: tuple[DecayRate, DecayRate] = Field((0.9, 0.999), description="AdamW's decay rates of its two moments")
    eps: float = Field(1e-8, gt=0, description="AdamW's floor under the root of the second moment")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's decay of what is trained")


class PeftConfig(DataParallelConfig):
    """LoRA, or PiSSA: the same with the largest singular triples taken out of the weight as a start."""

    method: Literal["lora", "pissa"]
    rank: int = Field(ge=1, description="rank of the two factors (r), the same on every process")
    alpha: float | None = Field(None, gt=0, description="scale of the product times rank; None is rank, a scale of 1")
    pissa_iterations: int | None = Field(None, ge=1, description="of PiSSA's randomised SVD; None is the exact one")

    @model_validator(mode="after")
    def _iterations_are_pissas(self) -> Self:
        if self.method == "lora" and self.pissa_iterations is not None:
            raise ValueError("pissa_iterations is a setting of method=pissa; LoRA decomposes nothing")
        return self


class FullConfig(DataParallelConfig):
    """Full fine-tuning: the targeted weights themselves."""

    method: Literal["full"]


TunerConfig = Annotated[HDPiSSAConfig | PeftConfig | FullConfig, Field(discriminator="method")]


class Tuner(ABC):
    """One way to fine-tune a module on the processes of a group; every process ends each step with the same weights."""

    shards: Shards

    @property
    def hosted_slices(self) -> range:
        """Shards fed by this process."""
        return self.shards.hosted

    def slice(self, index: int) -> AbstractContextManager[None]:
        """Feed shard `index` with the forward and backward passes inside; losses of several passes add up."""
        return self.shards.feed(index)

    @abstractmethod
    def step(self, lr: float) -> None:
        """Move what is trained by the gradients since the last step, and forget them. A collective."""

    @abstractmethod
    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that training moves, by name."""

    @abstractmethod
    def rank(self, name: str) -> int:
        """Rank r of one process's part of a targeted weight's update; min(m, n) where nothing limits it."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """Targeted weights (m, n) as the module now amounts to, copies in float32 or wider, by layer name."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """The optimizer's own state of all processes, {"tensors": by name, "facts": JSON-able}. A collective."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Undo `state_dict`, after `load_tensors`; raises ValueError for a state of other settings."""

    @abstractmethod
    def finish(self) -> None:
        """Leave a plain module with the weights as they are, and no trace of the method."""

    def tensors(self) -> dict[str, Tensor]:
        """Copies of what training moves."""
        return {name: parameter.detach().clone() for name, parameter in self.trained().items()}

    @torch.no_grad()
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Undo `tensors`."""
        for name, parameter in self.trained().items():
            parameter.copy_(tensors[name])


class HDPiSSATuner(Tuner):
    """HD-PiSSA; with others=data_parallel AdamW beside it on everything else, at the same rate."""

    def __init__(self, module: nn.Module, config: HDPiSSAConfig, group: dist.ProcessGroup | None, seed: int) -> None:
        self.module = module
        self.adapters = inject(module, config, group)
        self.shards = self.adapters.shards
        self.optimizer = HDPiSSAOptimizer(self.adapters, lr=0.0, seed=seed)
        adapted = {id(layer.weight) for layer in self.adapters.layers}
        others = {name: p for name, p in module.named_parameters() if p.requires_grad and id(p) not in adapted}
        self.others = None
        if config.others == "data_parallel" and others:
            self.others = DataParallel(others, self.shards, self.adapters.collective, config.betas, config.eps)

    def step(self, lr: float) -> None:
        """See Tuner."""
        self.optimizer.lr = lr
        self.optimizer.step()
        if self.others:
            self.others.step(lr)

    def trained(self) -> dict[str, nn.Parameter]:
        """See Tuner."""
        adapted = {f"{layer.name}.weight": layer.weight for layer in self.adapters.layers}
        return adapted | (self.others.parameters if self.others else {})

    def rank(self, name: str) -> int:
        """See Tuner."""
        return next(layer.rank for layer in self.adapters.layers if layer.name == name)

    def weights(self) -> dict[str, Tensor]:
        """See Tuner."""
        return {layer.name: _widened(layer.weight) for layer in self.adapters.layers}

    def state_dict(self) -> dict[str, Any]:
        """See Tuner."""
        state = self.optimizer.state_dict()
        facts = {name: state.pop(name) for name in ("num_steps", "layout")}
        others = {f"others/{name}": tensor for name, tensor in self.others.state_dict().items()} if self.others else {}
        return {"tensors": state | others, "facts": facts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Tuner."""
        own = {name: tensor for name, tensor in state["tensors"].items() if not name.startswith("others/")}
        self.optimizer.load_state_dict({**own, **state["facts"]})
        if self.others:
            prefixed = state["tensors"].items()
            self.others.load_state_dict({name.removeprefix("others/"): t for name, t in prefixed if name not in own})

    def finish(self) -> None:
        """See Tuner."""
        if self.others:
            self.others.remove()
        remove(self.module)


class DataParallelTuner(Tuner):
    """Full fine-tuning, and LoRA and PiSSA through peft: AdamW on the mean gradient of all shards."""

    def __init__(
        self, module: nn.Module, config: PeftConfig | FullConfig, group: dist.ProcessGroup | None, seed: int
    ) -> None:
        collective = Collective(group)
        self.shards = Shards(config.num_slices, collective)
        self.module, self._rank = module, getattr(config, "rank", None)
        self.peft: PeftLayers | None = None
        self._was_trainable = {name for name, p in module.named_parameters() if p.requires_grad}
        if isinstance(config, PeftConfig):
            self.linears = select_linears(module, config.targets)
            _check_rank(self.linears, config.rank)
            own = self._wrap(config, seed)
        else:
            self.linears = linears_matching(module, config.targets)
            own = _distinct({f"{name}.weight": x.get_parameter("weight") for name, x in self.linears.items()})
        targeted = {id(linear.weight) for linear in self.linears.values()} | {id(p) for p in own.values()}
        others = {name: p for name, p in module.named_parameters() if id(p) not in targeted}
        others = {name: p for name, p in others.items() if p.requires_grad and config.others == "data_parallel"}
        module.requires_grad_(False)
        parameters = own | others
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        self.optimizer = DataParallel(
            parameters, self.shards, collective, config.betas, config.eps, config.weight_decay
        )

    def _wrap(self, config: PeftConfig, seed: int) -> dict[str, nn.Parameter]:
        alpha = config.rank if config.alpha is None else config.alpha
        names, iterations = list(self.linears), config.pissa_iterations
        self.peft = PeftLayers(self.module, names, config.method, config.rank, alpha, iterations, seed)
        return self.peft.parameters()

    def step(self, lr: float) -> None:
        """See Tuner."""
        self.optimizer.step(lr)

    def trained(self) -> dict[str, nn.Parameter]:
        """See Tuner."""
        return self.optimizer.parameters

    def rank(self, name: str) -> int:
        """See Tuner."""
        return self._rank or min(self.linears[name].weight.shape)

    def weights(self) -> dict[str, Tensor]:
        """See Tuner."""
        if self.peft:
            return {name: _widened(self.peft.weight(name)) for name in self.linears}
        return {name: _widened(linear.weight) for name, linear in self.linears.items()}

    def state_dict(self) -> dict[str, Any]:
        """See Tuner."""
        return {"tensors": self.optimizer.state_dict(), "facts": {}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See Tuner."""
        self.optimizer.load_state_dict(state["tensors"])

    def finish(self) -> None:
        """See Tuner."""
        self.optimizer.remove()
        if self.peft:
            self.peft.merge()
        for name, parameter in self.module.named_parameters():
            parameter.requires_grad_(name in self._was_trainable)


def build_tuner(
    module: nn.Module, config: TunerConfig, *, seed: int = 0, group: dist.ProcessGroup | None = None
) -> Tuner:
    """Prepare `module` in place for the method of `config`; every process of `group` calls it with the same module.

    `seed` is that of LoRA's start and of stochastic rounding. Raises ValueError (on every process alike) when a target
    cannot be adapted, when a rank exceeds min(m, n) of a weight, or when the shards do not divide over the processes.
    """
    if isinstance(config, HDPiSSAConfig):
        return HDPiSSATuner(module, config, group, seed)
    return DataParallelTuner(module, config, group, seed)


def _check_rank(linears: Mapping[str, nn.Linear], rank: int) -> None:
    over = [f"{name} ({x.out_features} x {x.in_features})" for name, x in linears.items() if rank > min(x.weight.shape)]
    if over:
        raise ValueError(
            f"rank={rank} exceeds the smaller side of {', '.join(over)}; lower rank or leave these out of targets"
        )


def _distinct(parameters: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """Every parameter under its first name: tied weights have several."""
    first = {id(parameter): name for name, parameter in reversed(list(parameters.items()))}
    return {name: parameter for name, parameter in parameters.items() if first[id(parameter)] == name}


def _widened(weight: Tensor) -> Tensor:
    return weight.detach().to(torch.promote_types(weight.dtype, torch.float32), copy=True)
