"""The training loop of all torch models: epochs, learning-rate schedule, early stopping, checkpoints."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from watchline.config import Config
from watchline.data.encoding import EncodedTable
from watchline.metrics import mae, xauc
from watchline.models.base import FitContext
from watchline.training.batches import Network, epoch_order, gather, predict_table, steps_per_epoch
from watchline.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    of_prefix,
    optimizer_tensors,
    random_tensors,
    restore_optimizer,
    restore_random,
    save_checkpoint,
    with_prefix,
)
from watchline.training.seeding import derived_seed


class LoopConfig(Config):
    """How a network is trained. Early stopping keeps the weights of the lowest validation MAE of the median."""

    epochs: int = Field(default=3, ge=1, description="passes over the training rows, at most")
    batch_size: int = Field(default=512, ge=1)
    lr: float = Field(default=2e-3, gt=0, description="peak learning rate of AdamW")
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_share: float = Field(default=0.05, ge=0, lt=1, description="share of all steps with a rising rate")
    final_lr_share: float = Field(default=0.0, ge=0, le=1, description="rate at the last step, as a share of `lr`")
    grad_clip: float = Field(default=1.0, gt=0, description="largest norm of the gradient")
    validations_per_epoch: int = Field(default=2, ge=1, description="each one also writes a checkpoint")
    patience: int = Field(default=4, ge=1, description="validations without improvement before training stops")


@dataclass
class Progress:
    """Where a run stands; all of it goes into a checkpoint."""

    step: int = 0
    best_step: int = 0
    best_mae_s: float = math.inf
    stopped: bool = False
    curves: list[dict[str, float]] = field(default_factory=list)


def learning_rate(step: int, total_steps: int, config: LoopConfig) -> float:
    """Rate at `step` (from 0): linear warm-up, its first step above 0, then half a cosine down to the final share."""
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
        self.predict_batch_size = predict_batch_size
        self.device = next(network.parameters()).device
        self.per_epoch = steps_per_epoch(len(train), config.batch_size)
        self.total_steps = config.epochs * self.per_epoch
        self.validate_every = max(1, self.per_epoch // config.validations_per_epoch)
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        self.generator = torch.Generator(self.device).manual_seed(derived_seed(seed, 0))
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}
        self.losses: list[tuple[Tensor, int]] = []  # since the last validation; read there, to spare a GPU the waits

    def run(self) -> Progress:
        """Train until the last epoch or until patience ends; resumes from the newest checkpoint of the run folder."""
        torch.manual_seed(derived_seed(self.seed, 1))
        self._resume()
        progress = self.progress
        order = None
        started, first_step = time.perf_counter(), progress.step
        while progress.step < self.total_steps and not progress.stopped:
            epoch, batch = divmod(progress.step, self.per_epoch)
            if order is None or batch == 0:
                order = epoch_order(len(self.train), self.seed, epoch)
            rows = order[batch * self.config.batch_size : (batch + 1) * self.config.batch_size]
            self._step(rows)
            if progress.step % self.validate_every == 0 or progress.step == self.total_steps:
                speed = (progress.step - first_step) * self.config.batch_size / (time.perf_counter() - started)
                self._validate(speed)
                self._save()
                started, first_step = time.perf_counter(), progress.step
        self.module.load_state_dict(self.best)
        return progress

    def _step(self, rows: Any) -> None:
        progress = self.progress
        self.module.train()
        categorical, numeric, label = gather(self.train, rows, self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(progress.step, self.total_steps, self.config)
        loss = self.network.loss(
            categorical, numeric, label, step=progress.step, total_steps=self.total_steps, generator=self.generator
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), self.config.grad_clip)
        self.optimizer.step()
        self.losses.append((loss.detach(), len(rows)))
        progress.step += 1

    def _mean_loss(self) -> float:
        values = torch.stack([loss for loss, _ in self.losses]).double().cpu()
        weights = torch.tensor([rows for _, rows in self.losses], dtype=torch.float64)
        self.losses.clear()
        mean = float((values * weights).sum() / weights.sum())
        if not math.isfinite(mean):
            raise ValueError(f"training loss is {mean} before step {self.progress.step}; lower lr ({self.config.lr})")
        return mean

    def _validate(self, rows_per_s: float) -> None:
        progress, label, train_loss = self.progress, self.valid.label_N, self._mean_loss()
        if label is None or len(label) == 0:
            raise ValueError("validation needs labelled rows; check window.valid_days")
        predicted = predict_table(
            self.network, self.valid, ("median", "expected_rank"), self.predict_batch_size, self.device
        )
        row = {
            "step": progress.step,
            "epoch": round(progress.step / self.per_epoch, 6),
            "train_loss": train_loss,
            "valid_mae_s": mae(label, predicted["median"]),
            "valid_xauc": xauc(label, predicted["expected_rank"]),
        }
        progress.curves.append(row)
        if row["valid_mae_s"] < progress.best_mae_s:
            progress.best_step, progress.best_mae_s = progress.step, row["valid_mae_s"]
            self.best = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}
        waited = sum(1 for past in progress.curves if past["step"] > progress.best_step)
        progress.stopped = waited >= self.config.patience
        self.context.progress(
            f"step {progress.step}/{self.total_steps}  train loss {row['train_loss']:.4f}  "
            f"valid MAE {row['valid_mae_s']:.3f} s  XAUC {row['valid_xauc']:.4f}  {rows_per_s:,.0f} rows/s"
        )

    def _save(self) -> None:
        if self.context.run_dir is None:
            return
        tensors = {
            **with_prefix("model", dict(self.module.state_dict())),
            **with_prefix("best", self.best),
            **with_prefix("optimizer", optimizer_tensors(self.optimizer)),
            **with_prefix("random", random_tensors(self.generator)),
        }
        save_checkpoint(self.context.run_dir, Checkpoint(self.progress.step, tensors, vars(self.progress)))

    def _resume(self) -> None:
        checkpoint = load_checkpoint(self.context.run_dir) if self.context.run_dir else None
        if checkpoint is None:
            return
        self.progress = Progress(**checkpoint.state)
        self.module.load_state_dict(of_prefix("model", checkpoint.tensors))
        self.best = of_prefix("best", checkpoint.tensors)
        restore_optimizer(self.optimizer, of_prefix("optimizer", checkpoint.tensors))
        restore_random(of_prefix("random", checkpoint.tensors), self.generator)
        self.context.progress(f"continuing from step {self.progress.step} of {self.total_steps}")


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
