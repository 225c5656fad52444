"""Checkpoints of a run that fine-tunes by a Tuner: what it trains, its optimizer's state, and the run's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from watchline.adapters.tuner import Tuner
from watchline.training.checkpoint import Checkpoint, load_checkpoint, of_prefix, save_checkpoint, with_prefix
from watchline.training.distributed import Processes


def save_run(
    directory: Path | None,
    tuner: Tuner,
    step: int,
    state: Mapping[str, Any],
    processes: Processes,
    kept: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint with the run's JSON-able `state`, and `kept` weights besides the present ones.

    A collective: the optimizer's state is gathered by all and written by the first. Without a folder nothing is done.
    """
    if directory is None:
        return
    optimizer = tuner.state_dict()
    if processes.is_first:
        tensors = {
            **with_prefix("weights", dict(tuner.trained())),
            **with_prefix("best", dict(kept or {})),
            **with_prefix("optimizer", optimizer["tensors"]),
        }
        save_checkpoint(directory, Checkpoint(step, tensors, {"state": state, "optimizer": optimizer["facts"]}))


def restore_run(directory: Path | None, tuner: Tuner) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Undo `save_run`: the tuner is as it was; returns the run's state and the `kept` weights. None: no checkpoint."""
    checkpoint = load_checkpoint(directory) if directory else None
    if checkpoint is None:
        return None
    tuner.load_tensors(of_prefix("weights", checkpoint.tensors))
    optimizer = of_prefix("optimizer", checkpoint.tensors)
    tuner.load_state_dict({"tensors": optimizer, "facts": checkpoint.state["optimizer"]})
    return checkpoint.state["state"], of_prefix("best", checkpoint.tensors)
