"""Checkpoints of a running fit: model, optimizer, step and with it the data position, as safetensors + JSON.

A checkpoint is a folder `step-XXXXXXXX` that appears whole (written aside, then renamed); older ones are removed.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name and a JSON-able state that together continue a fit at `step`."""

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(directory: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint whole, then remove the others in `directory`; returns its folder."""
    target = directory / f"step-{checkpoint.step:08d}"
    aside = directory / f"writing-{checkpoint.step:08d}"
    for leftover in (aside, target):
        shutil.rmtree(leftover, ignore_errors=True)
    aside.mkdir(parents=True)
    # A copy each: safetensors refuses tensors that share memory (tied weights, best == current).
    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in checkpoint.tensors.items()}
    save_file(tensors, aside / "tensors.safetensors")
    (aside / "state.json").write_text(json.dumps(checkpoint.state, sort_keys=True) + "\n")
    aside.rename(target)
    for other in directory.iterdir():
        if other.is_dir() and other != target and other.name.startswith(("step-", "writing-")):
            shutil.rmtree(other, ignore_errors=True)
    return target


def load_checkpoint(directory: Path) -> Checkpoint | None:
    """The newest whole checkpoint in `directory`, or None; raises ValueError naming one that cannot be read."""
    folders = sorted(directory.glob("step-*"))
    if not folders:
        return None
    folder = folders[-1]
    try:
        state = json.loads((folder / "state.json").read_text())
        tensors = load_file(folder / "tensors.safetensors")
    except (OSError, json.JSONDecodeError, SafetensorError) as error:
        raise ValueError(f"{folder}: not a readable checkpoint ({error}); remove the folder to start anew") from error
    return Checkpoint(int(folder.name.removeprefix("step-")), tensors, state)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State of the optimizer by `PARAMETER.NAME` (both as in its state_dict); numbers become float64 scalars."""
    tensors = {}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            tensors[f"{index}.{name}"] = value if torch.is_tensor(value) else torch.tensor(value, dtype=torch.float64)
    return tensors


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Undo `optimizer_tensors`; the hyper-parameters stay those of `optimizer`."""
    state: dict[int, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor.clone()
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` under `prefix/`, to put several groups into one file."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def of_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The group that `with_prefix` put under `prefix/`."""
    start = f"{prefix}/"
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
