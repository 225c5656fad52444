"""The training loop of all torch models: epochs, learning-rate schedule, early stopping, checkpoints."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from watchline.config import Config
from watchline.data.encoding import EncodedTable
from watchline.metrics import mae, xauc
from watchline.models.base import FitContext
from watchline.training.averaging import Average
from watchline.training.batches import (
    Network,
    dealt_batches,
    gather,
    is_validation_due,
    predict_table,
    steps_per_epoch,
)
from watchline.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    of_prefix,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
    with_prefix,
)
from watchline.training.compiling import CompiledParts
from watchline.training.distributed import Processes, all_reduce_sum
from watchline.training.gradients import Gradients
from watchline.training.order import shuffled
from watchline.training.seeding import derived_seed


class LoopConfig(Config):
    """How a network is trained, and which of its weights are kept."""

    epochs: int = Field(default=2, ge=1, description="passes over the training rows, at most")
    batch_size: int = Field(default=512, ge=1)
    lr: float = Field(default=2e-3, gt=0, description="peak learning rate of AdamW")
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_share: float = Field(default=0.05, ge=0, lt=1, description="share of all steps with a rising rate")
    final_lr_share: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="share of `lr` that the rate falls towards, and would have one step past the last",
    )
    average_decay: float | None = Field(
        default=8.0, ge=0, description="eta of the polynomial-decay average of weights that is kept; null: the weights"
    )
    grad_clip: float = Field(default=1.0, gt=0, description="largest norm of the gradient")
    num_shards: int = Field(default=2, ge=1, description="parts of a batch that draw at random on their own")
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of the passes in training (autocast); weights and prediction stay float32"
    )
    compile: bool = Field(default=False, description="torch.compile of the parts that take it")
    validations_per_epoch: int = Field(default=3, ge=1, description="each one also writes a checkpoint")
    stop_on: Literal["valid_mae_s", "valid_loss"] = Field(
        default="valid_mae_s",
        description="what is lowest at the weights that are kept: MAE of the median, or the loss itself, which also "
        "tells labels apart whose median is 0",
    )
    patience: int = Field(default=4, ge=1, description="validations without improvement before training stops")


@dataclass
class Progress:
    """Where a run stands; all of it goes into a checkpoint."""

    step: int = 0
    best_step: int = 0
    best: float = math.inf  # lowest value so far of what training stops on
    stopped: bool = False
    curves: list[dict[str, float]] = field(default_factory=list)


def learning_rate(step: int, total_steps: int, config: LoopConfig) -> float:
    """Rate at `step` (from 0): linear warm-up, its first step above 0, then half a cosine towards the final share.

    That share is the rate at `total_steps`, one past the last step.
    """
    warmup = round(config.warmup_share * total_steps)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    done = (step - warmup) / max(1, total_steps - warmup)
    return config.lr * (config.final_lr_share + (1 - config.final_lr_share) * 0.5 * (1 + math.cos(math.pi * done)))


class Loop:
    """One fit of one network; `run` trains it and leaves the best weights in it."""

    def __init__(
        self,
        network: Network,
        train: EncodedTable,
        valid: EncodedTable,
        config: LoopConfig,
        context: FitContext,
        seed: int,
        predict_batch_size: int,
    ) -> None:
        assert isinstance(network, nn.Module)
        self.network, self.module = network, network
        self.train, self.valid, self.config, self.context, self.seed = train, valid, config, context, seed
        self.processes, self.predict_batch_size = context.processes, predict_batch_size
        self.shards = hosted_shards(config.num_shards, self.processes)
        self.device = next(network.parameters()).device
        self.per_epoch = steps_per_epoch(len(train), config.batch_size)
        self.total_steps = config.epochs * self.per_epoch
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        self.gradients = Gradients(network.parameters())
        self.compiled = CompiledParts(network, config.compile)
        self.average = Average(network.parameters(), config.average_decay)
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}
        # Loss and rows since the last validation; read there, to spare a GPU the waits.
        self.sums = torch.zeros(2, dtype=torch.float64, device=self.device)

    def run(self) -> Progress:
        """Train until the last epoch or until patience ends; resumes from the newest checkpoint of the run folder."""
        self._resume()
        progress = self.progress
        started, first_step = time.perf_counter(), progress.step
        while progress.step < self.total_steps and not progress.stopped:
            with self.compiled.in_place():
                self._step()
            if is_validation_due(progress.step, self.per_epoch, self.config.validations_per_epoch):
                speed = (progress.step - first_step) * self.config.batch_size / (time.perf_counter() - started)
                with self.average.in_place():
                    self._validate(speed)
                self._save()
                started, first_step = time.perf_counter(), progress.step
        self.module.load_state_dict(self.best)
        return progress

    def _step(self) -> None:
        progress, config = self.progress, self.config
        self.module.train()
        epoch, batch = divmod(progress.step, self.per_epoch)
        positions = np.arange(batch * config.batch_size, min((batch + 1) * config.batch_size, len(self.train)))
        rows = shuffled(positions, len(self.train), self.seed, epoch)
        self.gradients.clear()
        for shard in self.shards:
            self._feed(rows[shard :: config.num_shards], shard, len(rows))
        self.gradients.sum_over_processes()
        self.gradients.clip(config.grad_clip)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(progress.step, self.total_steps, config)
        self.optimizer.step()
        progress.step += 1
        self.average.update(progress.step)

    def _feed(self, rows: np.ndarray, shard: int, rows_of_batch: int) -> None:
        """Forward and backward pass of one shard of a batch, its loss weighted by its share of the batch's rows.

        What it draws at random depends on seed, step and shard alone: not on the process that hosts the shard, and not
        on what ran before, so that a repeated run needs no random state.
        """
        if not len(rows):
            return
        seed = derived_seed(self.seed, self.progress.step, shard)
        torch.manual_seed(seed)
        generator = torch.Generator(self.device).manual_seed(seed)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            loss = self.network.loss(
                *gather(self.train, rows, self.device),
                step=self.progress.step,
                total_steps=self.total_steps,
                generator=generator,
            )
        (loss * (len(rows) / rows_of_batch)).backward()
        self.sums[0] += loss.detach() * len(rows)
        self.sums[1] += len(rows)

    def _mean_loss(self) -> float:
        """Mean over the rows of all processes since the last validation."""
        all_reduce_sum(self.sums)
        mean = float(self.sums[0] / self.sums[1])
        self.sums.zero_()
        if not math.isfinite(mean):
            raise ValueError(f"training loss is {mean} before step {self.progress.step}; lower lr ({self.config.lr})")
        return mean

    def _validate(self, rows_per_s: float) -> None:
        progress, label, train_loss = self.progress, self.valid.label_N, self._mean_loss()
        if label is None or len(label) == 0:
            raise ValueError("validation needs labelled rows; check window.valid_days")
        predicted = predict_table(
            self.network, self.valid, ("median", "expected_rank"), self.predict_batch_size, self.device, self.processes
        )
        label, (median, score) = self.valid.restore(label), self.valid.restore_predictions(predicted)
        row = {
            "step": progress.step,
            "epoch": round(progress.step / self.per_epoch, 6),
            "train_loss": train_loss,
            "valid_loss": self._validation_loss(),
            "valid_mae_s": mae(label, median),
            "valid_xauc": xauc(label, score),
        }
        # A metric that is not defined on these rows (XAUC where all labels are equal) has no point.
        progress.curves.append({name: value for name, value in row.items() if math.isfinite(value)})
        if row[self.config.stop_on] < progress.best:
            progress.best_step, progress.best = progress.step, row[self.config.stop_on]
            self.best = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}
        waited = sum(1 for past in progress.curves if past["step"] > progress.best_step)
        progress.stopped = waited >= self.config.patience
        self.context.progress(
            f"step {progress.step}/{self.total_steps}  loss: train {train_loss:.4f}, valid {row['valid_loss']:.4f}  "
            f"valid MAE {row['valid_mae_s']:.3f} s  XAUC {row['valid_xauc']:.4f}  {rows_per_s:,.0f} rows/s"
        )

    def _validation_loss(self) -> float:
        """Mean loss over the validation rows as at the end of training; batches are dealt to the processes in turn."""
        self.module.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        with torch.no_grad():
            for _, rows in dealt_batches(len(self.valid), self.predict_batch_size, self.processes):
                loss = self.network.loss(
                    *gather(self.valid, rows, self.device),
                    step=self.total_steps,
                    total_steps=self.total_steps,
                    generator=None,
                )
                sums[0] += loss.double() * len(rows)
                sums[1] += len(rows)
        all_reduce_sum(sums)
        return float(sums[0] / sums[1])

    def _save(self) -> None:
        if self.context.run_dir is None or not self.processes.is_first:
            return
        tensors = {
            **with_prefix("model", dict(self.module.state_dict())),
            **with_prefix("best", self.best),
            **with_prefix("average", self.average.tensors()),
            **with_prefix("optimizer", optimizer_tensors(self.optimizer)),
        }
        save_checkpoint(self.context.run_dir, Checkpoint(self.progress.step, tensors, vars(self.progress)))

    def _resume(self) -> None:
        checkpoint = load_checkpoint(self.context.run_dir) if self.context.run_dir else None
        if checkpoint is None:
            return
        self.progress = Progress(**checkpoint.state)
        self.module.load_state_dict(of_prefix("model", checkpoint.tensors))
        self.best = of_prefix("best", checkpoint.tensors)
        self.average.restore(of_prefix("average", checkpoint.tensors))
        restore_optimizer(self.optimizer, of_prefix("optimizer", checkpoint.tensors))
        self.context.progress(f"continuing from step {self.progress.step} of {self.total_steps}")


def hosted_shards(num_shards: int, processes: Processes) -> range:
    """The shards of each batch that this process feeds; raises ValueError where they do not divide evenly."""
    each, left = divmod(num_shards, processes.world_size)
    if left:
        raise ValueError(
            f"num_shards={num_shards} does not divide over {processes.world_size} processes; "
            "set it to a multiple (train.gr.num_shards, train.common.num_processes)"
        )
    return range(processes.rank * each, (processes.rank + 1) * each)


def fit_network(
    network: Network,
    train: EncodedTable,
    valid: EncodedTable,
    config: LoopConfig,
    context: FitContext,
    *,
    seed: int = 0,
    predict_batch_size: int = 8192,
) -> Progress:
    """Train `network` (loss and predict, an nn.Module) in place; returns curves and the best step.

    Raises ValueError for a loss that is not finite, for tables without labels, and for an unreadable checkpoint.
    """
    return Loop(network, train, valid, config, context, seed, predict_batch_size).run()
