"""The optimizer of HD-PiSSA: Adam per slice, one gather a step, one product per weight."""

# m outputs, n inputs, R = K r over all K slices, h slices hosted by this process, P numbers of a slice in all weights

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from watchline.adapters.export import save_lora
from watchline.adapters.hd_pissa import Adapters
from watchline.adapters.master import Weights

_STATE_KEYS = ("bases", "first_moment", "second_moment")
_MASTER = "master/"


class HDPiSSAOptimizer:
    """Adam on the captured gradients of the hosted slices, applied to the full weights on every process.

    Set `lr` before each step (`learning_rate` below gives schedules). `seed` is that of master=stochastic.
    """

    def __init__(self, adapters: Adapters, lr: float, seed: int = 0) -> None:
        self.adapters = adapters
        self.lr = lr
        self.seed = seed
        self.num_steps = 0
        hosted = slice(adapters.hosted_slices.start, adapters.hosted_slices.stop)
        self._first_hP = torch.zeros_like(adapters.bases[hosted])
        self._second_hP = torch.zeros_like(adapters.bases[hosted])
        self._weights = Weights({layer.name: layer.weight for layer in adapters.layers}, adapters.config.master)
        self._remember_versions()

    def zero_grad(self) -> None:
        """Forget the gradients captured since the last step."""
        self.adapters.zero_grad()

    @torch.no_grad()
    def step(self) -> None:
        """Turn the captured gradients into steps, gather them (the one collective) and move every weight.

        With reduce=mean a second collective, before it, averages every slice's gradient over all shards. Raises
        RuntimeError when a hosted slice saw no backward pass, a weight was used outside its layer, or a weight was
        changed by something else since the last step.
        """
        self._check_captured()
        self._check_versions()
        config = self.adapters.config
        self.num_steps += 1
        steps_hP = self._message(self._adam_steps(self._mean_gradients()))
        # A process applies the gathered copy of its own steps too: rounding must be the same everywhere.
        steps_KP = self.adapters.collective.all_gather(steps_hP)
        for number, layer in enumerate(self.adapters.layers):
            a_Rn, bt_Rm = layer.stack(self.adapters.bases)
            da_Rn, dbt_Rm = (part.to(a_Rn.dtype) for part in layer.stack(steps_KP))
            left_2Rm, right_2Rn = torch.cat((dbt_Rm, bt_Rm)), torch.cat((a_Rn - da_Rn, da_Rn))
            seed = (self.seed * 1_000_003 + self.num_steps) * 1_000_003 + number
            self._weights.add_product(layer.name, left_2Rm, right_2Rn, -config.scale, seed % 2**63)
        self.zero_grad()
        self._remember_versions()

    def _mean_gradients(self) -> Tensor:
        """Gradients (h, P) of the hosted slices: their own sums, or the mean of every shard's."""
        gradients = self.adapters.gradients
        if self.adapters.config.reduce == "local":
            return gradients
        summed_hP = self.adapters.collective.reduce_scatter(self._message(gradients)).to(gradients.dtype)
        return summed_hP / self.adapters.config.num_slices

    def _message(self, tensor: Tensor) -> Tensor:
        return tensor.to(torch.bfloat16) if self.adapters.config.comm_dtype == "bfloat16" else tensor

    def _adam_steps(self, gradients_hP: Tensor) -> Tensor:
        """Adam's bias-corrected steps dA_j, dB_j^T of the hosted slices, flat (h, P), to be subtracted."""
        config = self.adapters.config
        beta1, beta2 = config.betas
        if config.scale != 1.0:
            gradients_hP = gradients_hP * config.scale
        self._first_hP.lerp_(gradients_hP, 1 - beta1)
        self._second_hP.mul_(beta2).addcmul_(gradients_hP, gradients_hP, value=1 - beta2)
        steps_hP = (self._second_hP / (1 - beta2**self.num_steps)).sqrt_().add_(config.eps)
        return torch.div(self._first_hP, steps_hP, out=steps_hP).mul_(self.lr / (1 - beta1**self.num_steps))

    def _check_captured(self) -> None:
        adapters = self.adapters
        unfed = [j for j, count in zip(adapters.hosted_slices, adapters.num_backwards, strict=True) if not count]
        if unfed:
            raise RuntimeError(f"slices {unfed} saw no backward pass since the last step; feed every hosted slice")
        strays = [layer.name for layer in adapters.layers if layer.weight.grad is not None]
        if strays:
            raise RuntimeError(
                f"{', '.join(strays)}: the weight was used outside its layer's forward pass, so a part of its gradient "
                "went past the slices; call the layer itself, or leave it out of the targets"
            )

    def _remember_versions(self) -> None:
        self._versions = [layer.weight._version for layer in self.adapters.layers]

    def _check_versions(self) -> None:
        """The bases and moments belong to the weights as this optimizer left them."""
        changed = [
            layer.name
            for layer, version in zip(self.adapters.layers, self._versions, strict=True)
            if layer.weight._version != version
        ]
        if changed:
            raise RuntimeError(
                f"{', '.join(changed[:5])}: weights were loaded or changed since the last step, and the bases are "
                "those of the weights before; load the optimizer's state after the weights, or inject anew"
            )

    def state_dict(self) -> dict[str, Any]:
        """Step count, layout, bases (K, P), moments (K, P) of ALL slices: the same on any number of processes.

        A collective: every process calls it. With bfloat16 weights also what master=fp32 or kahan keeps, under
        `master/NAME` (m, n). The weights are the model's own state and go beside it. As torch's own, the tensors are
        the optimizer's: copy what has to outlive the next step.
        """
        gather = self.adapters.collective.all_gather
        return {
            "num_steps": self.num_steps,
            "layout": self._layout(),
            "bases": self.adapters.bases,
            "first_moment": gather(self._first_hP),
            "second_moment": gather(self._second_hP),
            **{f"{_MASTER}{name}": tensor for name, tensor in self._weights.tensors().items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave, on any number of processes that divides the slices; after the weights.

        Raises ValueError when bases, moments or master copies are missing (bases of moved weights are not those
        training began with) or belong to other layers, slices or ranks.
        """
        missing = [key for key in ("num_steps", "layout", *_STATE_KEYS) if key not in state]
        if missing:
            raise ValueError(
                f"the state lacks {', '.join(missing)}; weights alone cannot be resumed from: the bases are those of "
                "the weights training began with"
            )
        if state["layout"] != self._layout():
            raise ValueError(f"the state is of other layers, slices or ranks: {state['layout']} here {self._layout()}")
        self._weights.load_tensors(
            {key.removeprefix(_MASTER): value for key, value in state.items() if key.startswith(_MASTER)}
        )
        hosted = self.adapters.hosted_slices
        self.num_steps = int(state["num_steps"])
        self.adapters.bases.copy_(state["bases"])
        self._first_hP.copy_(state["first_moment"][hosted.start : hosted.stop])
        self._second_hP.copy_(state["second_moment"][hosted.start : hosted.stop])
        self.zero_grad()
        self._remember_versions()

    def export_lora(self, directory: Path, base_weights: Mapping[str, Tensor]) -> float:
        """Write the update since `base_weights` (by layer name, as before `inject`) as a LoRA that peft loads.

        Its rank is 2 K r; what N steps moved beyond that is of second order and is left out. Returns the relative
        error: the Frobenius norm of what is left out over that of the update, of all weights together. One process
        calls it; all have the same weights.
        """
        return save_lora(directory, self._updates(base_weights))

    def _updates(self, base_weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
        """Name, update in float64, stacked A and B^T of one layer after another: float64 copies take room."""
        for layer in self.adapters.layers:
            before = base_weights[layer.name].to(layer.weight.device).double()
            yield layer.name, self._weights.exact(layer.name).double() - before, *layer.stack(self.adapters.bases)

    def _layout(self) -> dict[str, list[int]]:
        """K, r, m, n of every weight in the order of the flat buffers."""
        num_slices = self.adapters.config.num_slices
        return {layer.name: [num_slices, layer.rank, *layer.weight.shape] for layer in self.adapters.layers}


def learning_rate(
    step: int, total_steps: int, peak: float, warmup_share: float, decay: Literal["constant", "linear", "cosine"]
) -> float:
    """Learning rate of optimizer step `step` = 0, 1, ..., total_steps - 1: never 0, the peak right after the warm-up.

    The warm-up is linear over ceil(warmup_share * total_steps) steps and begins with peak / (warm-up steps + 1).
    """
    if not 0 <= step < total_steps:
        raise ValueError(f"step {step} is outside 0 .. {total_steps - 1}")
    warmup = math.ceil(warmup_share * total_steps)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, total_steps - warmup)
    if decay == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * progress))
    return peak * (1 - progress) if decay == "linear" else peak
