"""How weights take updates smaller than half their last bit: as they are, or bfloat16 with help.

Rounding to nearest drops most of a small update to a bfloat16 weight (8 bits of significand). The remedies: a float32
copy that is rounded for the forward pass; a bfloat16 buffer of what rounding left over (Kahan's compensated sum);
rounding up or down at random so that the expectation is exact.
"""

# m rows of a weight, n columns, R length of the inner dimension of its update

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

Master = Literal["fp32", "kahan", "stochastic"]

_BLOCK_NUMBERS = 2**22  # of a weight at a time in float32, so that no (m, n) copy is ever held
_DROPPED_BITS = 16  # of float32's significand, which bfloat16 has not


class Weights:
    """Applies low-rank updates to weights by name; `tensors` is the state a checkpoint needs beside the weights."""

    def __init__(self, weights: Mapping[str, nn.Parameter], master: Master) -> None:
        self.weights = weights
        low = {name: weight for name, weight in weights.items() if weight.dtype == torch.bfloat16}
        self.master = master
        self._copies: dict[str, Tensor] = {}
        if master == "fp32":
            self._copies = {name: weight.detach().float() for name, weight in low.items()}
        elif master == "kahan":
            self._copies = {name: torch.zeros_like(weight) for name, weight in low.items()}

    def add_product(self, name: str, left_Rm: Tensor, right_Rn: Tensor, scale: float, seed: int) -> None:
        """W += scale * left^T right; `seed` draws the stochastic rounding, alike on every process."""
        weight = self.weights[name]
        if weight.dtype != torch.bfloat16:
            weight.addmm_(left_Rm.T, right_Rn, alpha=scale)
        elif self.master == "fp32":
            weight.copy_(self._copies[name].addmm_(left_Rm.T, right_Rn, alpha=scale))
        else:
            self._add_in_blocks(name, left_Rm, right_Rn, scale, seed)

    def _add_in_blocks(self, name: str, left_Rm: Tensor, right_Rn: Tensor, scale: float, seed: int) -> None:
        weight = self.weights[name]
        generator = torch.Generator(weight.device).manual_seed(seed)
        rows = max(1, _BLOCK_NUMBERS // weight.shape[1])
        for start in range(0, weight.shape[0], rows):
            part = weight[start : start + rows]
            total = part.float().addmm_(left_Rm[:, start : start + rows].T, right_Rn, alpha=scale)
            if self.master == "kahan":
                lost = self._copies[name][start : start + rows]
                total += lost
                part.copy_(total)
                lost.copy_(total.sub_(part))
            else:
                part.copy_(round_stochastically(total, generator))

    def exact(self, name: str) -> Tensor:
        """The weight with what rounding holds back, in float32 or wider."""
        weight = self.weights[name].detach()
        if name not in self._copies:
            return weight.to(torch.promote_types(weight.dtype, torch.float32), copy=True)
        return self._copies[name].clone() if self.master == "fp32" else weight.float() + self._copies[name]

    def tensors(self) -> dict[str, Tensor]:
        """The float32 copies or the remainders themselves, by name; empty where there are none."""
        return dict(self._copies)

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Undo `tensors`; raises ValueError where one is missing."""
        missing = sorted(self._copies.keys() - tensors.keys())
        if missing:
            raise ValueError(
                f"the state lacks master={self.master} of {', '.join(missing[:5])}; it is of another setting"
            )
        for name, copy in self._copies.items():
            copy.copy_(tensors[name])


def round_stochastically(values: Tensor, generator: torch.Generator) -> Tensor:
    """Float32 to bfloat16, up with the probability that makes the expectation exact; overwrites `values`."""
    bits = values.view(torch.int32)
    noise = torch.randint(0, 2**_DROPPED_BITS, bits.shape, generator=generator, device=bits.device, dtype=torch.int32)
    # Adding below the kept bits carries into them just as often as the dropped ones are large; the sign bit is apart.
    bits.add_(noise).bitwise_and_(-(2**_DROPPED_BITS))
    return values.to(torch.bfloat16)
