"""Fine-tuning of a trained network: shards (HD-PiSSA's slices) fed by their own rows, on any number of processes.

What a slice sees depends on seed, epoch and slice alone, and its random numbers on seed, step and slice, so that
1, 2 and 4 processes give the same weights, and a run continued from a checkpoint those of one never stopped.
"""

# K slices, h slices hosted by this process, N rows of a table

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from watchline.adapters.optimizer import learning_rate
from watchline.adapters.spectrum import Update, measure_update
from watchline.adapters.tuner import build_tuner
from watchline.data.encoding import EncodedTable
from watchline.finetuning.config import FinetuneConfig
from watchline.finetuning.tuner_checkpoint import restore_run, save_run
from watchline.metrics import mae, xauc
from watchline.models.base import Progress
from watchline.training.batches import Network, dealt_batches, gather, is_validation_due
from watchline.training.distributed import Processes, all_gather
from watchline.training.order import shuffled
from watchline.training.seeding import derived_seed

STATISTICS = ("median", "expected_rank")
_VALIDATION, _START = 2**31, 2**31 + 1  # streams of random numbers apart from those of the slices


@dataclass
class State:
    """Where a run stands; all of it goes into a checkpoint."""

    step: int = 0
    best_step: int = 0
    best_loss: float = math.inf
    stopped: bool = False
    curves: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Finetuned:
    """One curve row per validation, the step kept, the updates up to that step.

    Step 0 is the model as it came and has no `train_loss`. When no step lowered the held-out loss, `kept_step` is 0,
    the network is as it came, and the updates are those up to the last step.
    """

    curves: list[dict[str, float]]
    kept_step: int
    last_step: int
    updates: list[Update]
    before: dict[str, np.ndarray]  # STATISTICS of the held-out rows (N,) by the network as it came
    after: dict[str, np.ndarray]  # and as it is left

    def held_out_loss(self, step: int | None = None) -> float:
        """Mean loss of the held-out rows at a validated step, by default the one kept."""
        losses = {row["step"]: row["held_out_loss"] for row in self.curves}
        return losses[self.kept_step if step is None else step]


def slice_positions(num_rows: int, slice_index: int, num_slices: int, step: int, num_steps: int) -> np.ndarray:
    """Positions of one slice in one step of an epoch: over all slices and steps every position comes once."""
    shard = range(slice_index, num_rows, num_slices)
    first, last = (len(shard) * i // num_steps for i in (step, step + 1))
    return np.array(shard[first:last], dtype=np.int64)


class Finetuner:
    """One fine-tuning run; `run` leaves the weights of the lowest held-out loss in the network."""

    def __init__(
        self,
        network: Network,
        train: EncodedTable,
        held_out: EncodedTable,
        config: FinetuneConfig,
        processes: Processes,
        run_dir: Path | None,
        progress: Progress,
    ) -> None:
        assert isinstance(network, nn.Module)
        if len(train) < config.num_slices or not len(held_out):
            raise ValueError(
                f"{len(train)} rows to train on and {len(held_out)} held out are too few for {config.num_slices} "
                "slices; raise window.finetune_days or lower finetune.num_slices"
            )
        self.network, self.module = network, network
        self.train, self.held_out, self.config, self.processes = train, held_out, config, processes
        self.run_dir, self.progress = run_dir, progress
        self.per_epoch = max(1, len(train) // (config.num_slices * config.batch_size))
        self.total_steps = config.epochs * self.per_epoch
        self.tuner = build_tuner(network, config, seed=derived_seed(config.seed, _START))
        self.state = State()
        self.start, self.start_weights = self.tuner.tensors(), self.tuner.weights()
        self.best = self.start
        self._clear_losses()

    def run(self) -> Finetuned:
        """Train until the last epoch or until patience ends; continues from the run folder's checkpoint."""
        self._resume()
        if not self.state.curves:
            self._validate()
        state = self.state
        while state.step < self.total_steps and not state.stopped:
            self._step()
            if is_validation_due(state.step, self.per_epoch, self.config.validations_per_epoch):
                self._validate()
                self._save()
        updates = self._updates()
        before, after = self._predictions(self.start), self._predictions(self.best)
        self.tuner.finish()
        return Finetuned(state.curves, state.best_step, state.step, updates, before, after)

    def _step(self) -> None:
        config, state = self.config, self.state
        epoch, position = divmod(state.step, self.per_epoch)
        self.module.train()
        for hosted, j in enumerate(self.tuner.hosted_slices):
            positions = slice_positions(len(self.train), j, config.num_slices, position, self.per_epoch)
            rows = shuffled(positions, len(self.train), config.seed, epoch)
            with self.tuner.slice(j):
                self._losses_h[hosted] += self._feed(rows, j)
            self._rows_h[hosted] += len(rows)
        self.tuner.step(learning_rate(state.step, self.total_steps, config.lr, config.warmup_share, config.decay))
        state.step += 1

    def _feed(self, rows: np.ndarray, slice_index: int) -> float:
        """Backward passes of one slice over its rows of this step; returns the sum of their losses."""
        total = 0.0
        for part, part_rows in enumerate(np.array_split(rows, min(self.config.micro_batches, len(rows)))):
            generator = self._seed(self.state.step, slice_index, part)
            loss = self._loss(part_rows, self.train, generator)
            (loss * (len(part_rows) / len(rows))).backward()
            total += float(loss.detach()) * len(part_rows)
        if not math.isfinite(total):
            raise ValueError(
                f"the loss of slice {slice_index} is {total} at step {self.state.step}; "
                f"lower finetune.lr (now {self.config.lr})"
            )
        return total

    def _loss(self, rows: np.ndarray, table: EncodedTable, generator: torch.Generator) -> Tensor:
        """Mean loss over rows, as at the end of training."""
        batch = gather(table, rows, self.processes.device)
        return self.network.loss(*batch, step=self.total_steps, total_steps=self.total_steps, generator=generator)

    def _seed(self, *purpose: int) -> torch.Generator:
        """Seed torch's own generators (dropout) and return one for the loss, both from seed and purpose."""
        seed = derived_seed(self.config.seed, *purpose)
        torch.manual_seed(seed)
        return torch.Generator(self.processes.device).manual_seed(seed)

    def _validate(self) -> None:
        """Measure on the held-out rows, add a row to the curves, decide whether to go on (alike on every process)."""
        state = self.state
        train_loss = self._mean_train_loss()
        *predicted, loss_N = self._measure_held_out()
        assert self.held_out.label_N is not None
        label_N = self.held_out.restore(self.held_out.label_N)
        median_N, score_N = self.held_out.restore_predictions(dict(zip(STATISTICS, predicted)))
        row = {
            "step": state.step,
            "epoch": round(state.step / self.per_epoch, 6),
            **train_loss,
            "held_out_loss": float(loss_N.mean()),
            "held_out_mae_s": mae(label_N, median_N),
            "held_out_xauc": xauc(label_N, score_N),
        }
        state.curves.append(row)
        if row["held_out_loss"] < state.best_loss:
            state.best_step, state.best_loss = state.step, row["held_out_loss"]
            self.best = self.tuner.tensors()
        waited = sum(1 for past in state.curves if past["step"] > state.best_step)
        state.stopped = waited >= self.config.patience
        self._report(row)

    def _measure_held_out(self) -> np.ndarray:
        """Median, expected rank and mean loss of its batch for every held-out row, (3, N) float64.

        Batches are dealt to the processes in turn; they are the same batches on any number of processes.
        """
        values_3N = np.zeros((3, len(self.held_out)))
        self.module.eval()
        size = self.config.validation_batch_size
        with torch.no_grad():
            for number, rows in dealt_batches(len(self.held_out), size, self.processes):
                values_3N[:, rows] = self._measure_batch(rows, number)
        gathered = all_gather(torch.from_numpy(values_3N).to(self.processes.device))
        summed: np.ndarray = gathered.sum(dim=0).cpu().numpy()  # the others' rows are zeros
        return summed

    def _predictions(self, tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
        """Statistics of the held-out rows, in the label's measure, by the network with `tensors`, which stay in it."""
        self.tuner.load_tensors(tensors)
        predicted = dict(zip(STATISTICS, self._measure_held_out()))
        return dict(zip(STATISTICS, self.held_out.restore_predictions(predicted)))

    def _measure_batch(self, rows: np.ndarray, number: int) -> np.ndarray:
        """Median, expected rank and the batch's mean loss of each of the given held-out rows, (3, rows) float64."""
        categorical, numeric, _ = gather(self.held_out, rows, self.processes.device)
        predicted = self.network.predict(categorical, numeric, STATISTICS)
        loss = float(self._loss(rows, self.held_out, self._seed(_VALIDATION, number)))
        return np.stack([*(predicted[name].double().cpu().numpy() for name in STATISTICS), np.full(len(rows), loss)])

    def _mean_train_loss(self) -> dict[str, float]:
        """Mean over the rows of all slices since the last validation; nothing before the first step."""
        sums_2h = torch.tensor([self._losses_h, self._rows_h], dtype=torch.float64, device=self.processes.device)
        # By slice before summing: the order of a sum must not depend on who hosts what.
        losses, rows = all_gather(sums_2h).permute(1, 0, 2).flatten(1).sum(dim=1).tolist()
        self._clear_losses()
        return {"train_loss": losses / rows} if rows else {}

    def _clear_losses(self) -> None:
        self._losses_h = [0.0] * len(self.tuner.hosted_slices)
        self._rows_h = [0] * len(self.tuner.hosted_slices)

    def _report(self, row: dict[str, float]) -> None:
        if self.processes.is_first:
            trained = f"train loss {row['train_loss']:.4f}  " if "train_loss" in row else ""
            self.progress(
                f"step {self.state.step}/{self.total_steps}  {trained}held out: loss {row['held_out_loss']:.4f}  "
                f"MAE {row['held_out_mae_s']:.3f} s  XAUC {row['held_out_xauc']:.4f}"
            )

    def _updates(self) -> list[Update]:
        """Updates up to the step kept, or up to the last step when none is kept."""
        kept = self.state.best_step
        if kept:
            self.tuner.load_tensors(self.best)
        after, steps = self.tuner.weights(), kept or self.state.step
        return [
            measure_update(name, before, after[name], self.tuner.rank(name), steps)
            for name, before in self.start_weights.items()
        ]

    def _save(self) -> None:
        save_run(self.run_dir, self.tuner, self.state.step, vars(self.state), self.processes, self.best)

    def _resume(self) -> None:
        saved = restore_run(self.run_dir, self.tuner)
        if saved is None:
            return
        state, best = saved
        self.state = State(**state)
        self.best = {name: tensor.to(self.processes.device) for name, tensor in best.items()}
        if self.processes.is_first:
            self.progress(f"continuing from step {self.state.step} of {self.total_steps}")
