"""Ordinary data-parallel training of parameters, with the same shards of data as HD-PiSSA's slices."""

# h shards hosted by this process, K shards of all, Q numbers of all trained parameters

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from watchline.adapters.collective import Collective
from watchline.adapters.shards import Shards

_CHUNK_NUMBERS = 2**24  # of a gradient in one collective, to bound what the gathered rows take


class DataParallel:
    """AdamW on the mean gradient of all shards; 1, 2 and K processes give the same bytes.

    A hook adds every gradient to the row of the shard being fed, in float32 or wider, and drops it. Rows are gathered
    whole and averaged in the order of the shards, because a reduction's order would depend on the processes. Parameters
    in bfloat16 have a float32 copy, which the optimizer moves.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        shards: Shards,
        collective: Collective,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float = 0.0,
    ) -> None:
        if not parameters:
            raise ValueError("no parameter is left to train; set others=data_parallel or name targets")
        self.parameters, self.shards, self.collective = dict(parameters), shards, collective
        first = next(iter(parameters.values()))
        dtype = torch.promote_types(first.dtype, torch.float32)
        self._sizes = [parameter.numel() for parameter in parameters.values()]
        self._rows_hQ = torch.zeros(len(shards.hosted), sum(self._sizes), dtype=dtype, device=first.device)
        self._masters = [_master(parameter) for parameter in parameters.values()]
        self._optimizer = torch.optim.AdamW(self._masters, lr=0.0, betas=betas, eps=eps, weight_decay=weight_decay)
        self.num_backwards = [0] * len(shards.hosted)
        self._remember_versions()
        for parameter in parameters.values():
            parameter.grad = None  # of passes before this: the hooks would count it into the first step
        starts = torch.tensor([0, *self._sizes]).cumsum(0).tolist()
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(self._taker(start))
            for parameter, start in zip(parameters.values(), starts)
        ]

    def _taker(self, start: int) -> Any:
        def take(parameter: Tensor) -> None:
            assert parameter.grad is not None
            row = self.shards.active_row
            self._rows_hQ[row, start : start + parameter.numel()] += parameter.grad.reshape(-1)
            self.num_backwards[row] += 1
            parameter.grad = None

        return take

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Average over all shards (a gather), move the parameters alike on every process, forget the gradients.

        Raises RuntimeError when a hosted shard saw no backward pass.
        """
        unfed = [j for j, count in zip(self.shards.hosted, self.num_backwards, strict=True) if not count]
        if unfed:
            raise RuntimeError(f"slices {unfed} saw no backward pass since the last step; feed every hosted slice")
        self._check_versions()
        mean_Q = self._mean()
        for master, gradient in zip(self._masters, mean_Q.split(self._sizes)):
            master.grad = gradient.view_as(master)
        self._optimizer.param_groups[0]["lr"] = lr
        self._optimizer.step()
        for parameter, master in zip(self.parameters.values(), self._masters):
            master.grad = None
            if master is not parameter:
                parameter.copy_(master)
        self._rows_hQ.zero_()
        self.num_backwards = [0] * len(self.num_backwards)
        self._remember_versions()

    def _remember_versions(self) -> None:
        self._versions = [parameter._version for parameter in self.parameters.values()]

    def _check_versions(self) -> None:
        """A parameter with a float32 copy is overwritten by it, whatever was loaded since."""
        rows = zip(self.parameters.items(), self._masters, self._versions)
        changed = [name for (name, x), master, version in rows if master is not x and x._version != version]
        if changed:
            raise RuntimeError(
                f"{', '.join(changed[:5])}: parameters were loaded or changed since the last step, and their float32 "
                "copies are those of before; load the optimizer's state after the parameters, or begin anew"
            )

    def _mean(self) -> Tensor:
        """Mean gradient (Q,) over the K shards, left in the first row."""
        for start in range(0, self._rows_hQ.shape[1], _CHUNK_NUMBERS):
            part_hC = self._rows_hQ[:, start : start + _CHUNK_NUMBERS]
            # Row by row: a sum over an axis may take another order where the shape or the strides are others.
            first, *rest = self.collective.all_gather(part_hC).unbind(0)
            for row_C in rest:
                first += row_C
            part_hC[0] = first / self.shards.number
        return self._rows_hQ[0]

    def state_dict(self) -> dict[str, Tensor]:
        """AdamW's own state and float32 copies, by name; parameters themselves go beside it."""
        state = {}
        for name, parameter, master in zip(self.parameters, self.parameters.values(), self._masters):
            for key, value in self._optimizer.state[master].items():
                state[f"{name}/{key}"] = value
            if master is not parameter:
                state[f"{name}/master"] = master.detach()
        return state

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Undo `state_dict`, after the parameters were loaded; raises ValueError where something is missing."""
        stepped = any(not key.endswith("/master") for key in state)
        for name, parameter, master in zip(self.parameters, self.parameters.values(), self._masters):
            own = {key.removeprefix(f"{name}/"): value for key, value in state.items() if key.startswith(f"{name}/")}
            if master is not parameter:
                if "master" not in own:
                    raise ValueError(f"the state lacks the float32 copy of {name}; it is of another precision")
                master.copy_(own.pop("master"))
            lacking = {"step", "exp_avg", "exp_avg_sq"} - own.keys() if stepped else set()
            if lacking:
                raise ValueError(f"the state lacks {', '.join(sorted(lacking))} of {name}; it is of other parameters")
            self._optimizer.state[master] = {
                key: value.clone() if key == "step" else value.to(master.device, master.dtype, copy=True)
                for key, value in own.items()
            }
        self._remember_versions()

    def remove(self) -> None:
        """Stop taking gradients."""
        for hook in self._hooks:
            hook.remove()


def _master(parameter: nn.Parameter) -> Tensor:
    """The parameter itself, or its float32 copy where it is narrower."""
    if parameter.dtype in (torch.float32, torch.float64):
        return parameter
    return parameter.detach().float()
