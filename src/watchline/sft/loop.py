"""The training: every slice its own micro-batches of a step, on any number of processes.

The loss of a slice is the mean over the response tokens of all its micro-batches of a step, however they are cut.
What a slice sees depends on seed, epoch and slice alone, and its dropout on seed, step, slice and part, so that 1, 2
and 4 processes give the same weights, and a run continued from a checkpoint those of one never stopped.
"""

# h slices hosted by this process, K slices of all, B rows of a micro-batch, T tokens of a row, V vocabulary

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from watchline.adapters.optimizer import learning_rate
from watchline.adapters.tuner import Tuner
from watchline.finetuning.tuner_checkpoint import restore_run, save_run
from watchline.sft.batches import IGNORED, Batch, Row, Schedule, make_batch
from watchline.sft.config import SFTConfig
from watchline.sft.tokens import TokenSequence
from watchline.training.distributed import Processes, all_gather
from watchline.training.seeding import derived_seed

CURVE_COLUMNS = ("step", "epoch", "loss", "lr")


@dataclass
class State:
    """Where a run stands; all of it goes into a checkpoint."""

    step: int = 0
    losses: list[float] = field(default_factory=list)  # of the steps since the last row of the curves
    curves: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Material:
    """What is trained on: sequences, the rows they make, which of them come when, and the token that pads a row."""

    sequences: Sequence[TokenSequence]
    rows: Sequence[Row]
    schedule: Schedule
    pad_id: int


def token_losses(module: Any, batch: Batch) -> Tensor:
    """Sum of the losses (nats) of a batch's targets, in float32."""
    logits_BTV = module(input_ids=batch.ids_BT, position_ids=batch.positions_BT, use_cache=False).logits
    return functional.cross_entropy(
        logits_BTV.float().flatten(0, 1), batch.targets_BT.flatten(), ignore_index=IGNORED, reduction="sum"
    )


class Training:
    """One run; `run` moves the weights of the tuner's module."""

    def __init__(
        self,
        module: Any,
        tuner: Tuner,
        material: Material,
        config: SFTConfig,
        processes: Processes,
        run_dir: Path | None,
        progress: Callable[[str], None],
    ) -> None:
        self.module, self.tuner, self.material, self.config = module, tuner, material, config
        self.processes, self.run_dir, self.progress = processes, run_dir, progress
        self.schedule = material.schedule
        self.total_steps = config.epochs * self.schedule.steps_per_epoch
        if config.max_steps is not None:
            self.total_steps = min(self.total_steps, config.max_steps)
        self.state = State()
        self._clock, self._num_tokens = time.perf_counter(), 0

    def run(self) -> list[dict[str, float]]:
        """Train to the last step, from the run folder's checkpoint when there is one; returns the curves."""
        self._resume()
        self.module.train()
        while self.state.step < self.total_steps:
            self._step()
            last = self.state.step == self.total_steps
            if last or self.state.step % self.config.log_every == 0:
                self._log()
            if not last and self.state.step % self.config.checkpoint_every == 0:
                self._save()
        return self.state.curves

    def lr(self, step: int) -> float:
        """Learning rate of a step."""
        config = self.config
        return learning_rate(step, self.total_steps, config.lr, config.warmup_share, config.decay)

    def _step(self) -> None:
        losses_h = [self._feed(j) for j in self.tuner.hosted_slices]
        # By slice before averaging: the order of a sum must not depend on who hosts what.
        losses_K = all_gather(torch.tensor(losses_h, dtype=torch.float64, device=self.processes.device)).flatten()
        loss = sum(losses_K.tolist()) / len(losses_K)
        if not math.isfinite(loss):
            raise ValueError(f"the loss is {loss} at step {self.state.step}; lower train.lr (now {self.config.lr})")
        self.tuner.step(self.lr(self.state.step))
        self.state.losses.append(loss)
        self.state.step += 1

    def _feed(self, slice_index: int) -> float:
        """Forward and backward passes of one slice; returns the mean loss of its response tokens of this step."""
        step, size = self.state.step, self.config.micro_batch_size
        numbers = self.schedule.rows(slice_index, step)
        num_targets = sum(self._num_targets(number) for number in numbers)
        total = torch.zeros((), device=self.processes.device)
        for part, start in enumerate(range(0, len(numbers), size)):
            batch = self._batch(numbers[start : start + size])
            torch.manual_seed(derived_seed(self.config.seed, step, slice_index, part))
            # The backward pass inside, too: with activation checkpointing it runs the layers again.
            with self.tuner.slice(slice_index):
                loss = token_losses(self.module, batch) / num_targets
                loss.backward()
            total += loss.detach()
        return float(total)

    def _batch(self, numbers: np.ndarray) -> Batch:
        rows = [self.material.rows[number] for number in numbers]
        self._num_tokens += sum(len(self.material.sequences[i].ids) for row in rows for i in row)
        return make_batch(rows, self.material.sequences, self.material.pad_id).to(self.processes.device)

    def _num_targets(self, number: int) -> int:
        return sum(self.material.sequences[i].num_targets for i in self.material.rows[number])

    def _log(self) -> None:
        """Add a row to the curves: the mean loss of the steps since the last one."""
        state = self.state
        row = {
            "step": state.step,
            "epoch": round(state.step / self.schedule.steps_per_epoch, 6),
            "loss": sum(state.losses) / len(state.losses),
            "lr": self.lr(state.step - 1),
        }
        state.curves.append(row)
        state.losses = []
        if self.processes.is_first:
            now = time.perf_counter()
            rate = self._num_tokens * self.processes.world_size / (now - self._clock)  # all processes do as much
            self._clock, self._num_tokens = now, 0
            numbers = f"loss {row['loss']:.4f}  lr {row['lr']:.3g}  {rate:,.0f} tokens/s"
            self.progress(f"step {state.step}/{self.total_steps}  {numbers}")

    def _save(self) -> None:
        save_run(self.run_dir, self.tuner, self.state.step, asdict(self.state), self.processes)

    def _resume(self) -> None:
        saved = restore_run(self.run_dir, self.tuner)
        if saved is None:
            return
        self.state = State(**saved[0])
        if self.processes.is_first:
            self.progress(f"continuing from step {self.state.step} of {self.total_steps}")
