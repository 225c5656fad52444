"""LoRA and PiSSA by the peft library, on the linear maps of any module."""

# m outputs, n inputs, r rank

from __future__ import annotations

import re
from typing import Any, Literal

import torch
from torch import Tensor, nn

_ADAPTER = "default"


class PeftLayers:
    """Layers of `module` wrapped by peft in place; LoRA's random start depends on `seed` alone.

    Sources: Hu et al., "LoRA", arXiv 2106.09685; Meng et al., "PiSSA", arXiv 2404.02948.
    """

    def __init__(
        self,
        module: nn.Module,
        names: list[str],
        method: Literal["lora", "pissa"],
        rank: int,
        alpha: float,
        iterations: int | None,
        seed: int,
    ) -> None:
        # Imported here: it takes seconds and only these two methods need it.
        from peft import LoraConfig
        from peft.tuners.lora import LoraModel

        init = True if method == "lora" else "pissa" if iterations is None else f"pissa_niter_{iterations}"
        settings: dict[str, Any] = {"lora_alpha": alpha, "init_lora_weights": init}  # wider than peft's annotations
        # As a pattern: in a list every module would count whose name ends with one of these.
        pattern = "|".join(map(re.escape, names))
        config = LoraConfig(r=rank, target_modules=pattern, lora_dropout=0.0, **settings)
        trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            LoraModel(module, config, _ADAPTER)
        # peft freezes everything else; whether it is trained is not its to say.
        for parameter in trainable:
            parameter.requires_grad_(True)
        self.module = module
        self.layers: dict[str, Any] = {name: module.get_submodule(name) for name in names}

    def parameters(self) -> dict[str, nn.Parameter]:
        """lora_A (r, n) and lora_B (m, r) of every layer, by name."""
        return {
            f"{name}.{part}": getattr(layer, part)[_ADAPTER].weight
            for name, layer in self.layers.items()
            for part in ("lora_A", "lora_B")
        }

    @torch.no_grad()
    def weight(self, name: str) -> Tensor:
        """The weight (m, n) the layer amounts to, in float32 or wider; merging a bfloat16 layer rounds it."""
        layer = self.layers[name]
        base, delta = layer.get_base_layer().weight, layer.get_delta_weight(_ADAPTER)
        weight: Tensor = base.to(torch.promote_types(base.dtype, torch.float32)) + delta
        return weight

    def merge(self) -> None:
        """Put plain nn.Linear modules with the merged weights back in place."""
        for name, layer in self.layers.items():
            layer.merge(safe_merge=True)
            parent, _, last = name.rpartition(".")
            setattr(self.module.get_submodule(parent), last, layer.get_base_layer())
        del self.module.peft_config
