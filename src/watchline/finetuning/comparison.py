"""Several methods fine-tuned on the same rows, each with several seeds."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from watchline.adapters.spectrum import Update
from watchline.finetuning.config import FinetuneConfig
from watchline.finetuning.loop import Finetuned
from watchline.finetuning.rows import HeldOut
from watchline.training.distributed import Processes

Tune = Callable[[FinetuneConfig, Path], Finetuned]


@dataclass(frozen=True)
class Run:
    """One seed of one setting: metrics of the held-out rows at the step kept, curves, and updates of the weights."""

    metrics: dict[str, float]
    kept_step: int
    curves: list[dict[str, float]]
    updates: list[Update]


@dataclass(frozen=True)
class Comparison:
    """Metrics of the model as it came, and for every setting (the configured one first) its ranks and a run a seed.

    `rank` is that of one process's part and `total_rank` that of all of them; None where nothing limits it.
    """

    before: dict[str, float]
    lr: dict[str, float]
    rank: dict[str, int | None]
    total_rank: dict[str, int | None]
    runs: dict[str, list[Run]]


def compare(
    settings: Mapping[str, FinetuneConfig],
    configured: Finetuned,
    held_out: HeldOut,
    tune: Tune,
    run_dir: Path,
    processes: Processes,
) -> Comparison | None:
    """Run every setting of `contenders_of` but the configured one's first seed, which is done; None for that alone.

    `tune` fine-tunes the model as it came with a setting and a folder for checkpoints. What is finished is kept in
    `run_dir`, so that a repeat goes on with the rest.
    """
    if len(settings) == 1:
        return None
    num_seeds = next(iter(settings.values())).comparison.num_seeds
    runs: dict[str, list[Run]] = {}
    for name, setting in settings.items():
        runs[name] = [] if runs else [_summary(configured, held_out)]
        for offset in range(len(runs[name]), num_seeds):
            seeded = setting.model_copy(update={"seed": setting.seed + offset})
            runs[name].append(_run(seeded, held_out, tune, run_dir, processes))
    before = {"loss": configured.held_out_loss(0), **held_out.metrics(configured.before)}
    return Comparison(
        before,
        {name: setting.lr for name, setting in settings.items()},
        {name: getattr(setting, "rank", None) for name, setting in settings.items()},
        {name: _total_rank(setting) for name, setting in settings.items()},
        runs,
    )


def _total_rank(setting: FinetuneConfig) -> int | None:
    rank: int | None = getattr(setting, "rank", None)
    return rank * setting.num_slices if rank and setting.method == "hd_pissa" else rank


def _run(setting: FinetuneConfig, held_out: HeldOut, tune: Tune, run_dir: Path, processes: Processes) -> Run:
    folder = run_dir / f"setting-{_digest(setting)}"
    finished = folder.with_suffix(".json")
    # Written by the first process at the end of a run that all take part in: all see it, or none does.
    if finished.is_file():
        return _restored(json.loads(finished.read_text()))
    run = _summary(tune(setting, folder), held_out)
    if processes.is_first:
        partial = finished.with_suffix(".partial")
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(asdict(run)))  # every digit: a repeat reads back what this run has in memory
        partial.replace(finished)
        shutil.rmtree(folder, ignore_errors=True)
    return run


def _digest(setting: FinetuneConfig) -> str:
    """A name that depends on all that the setting's result depends on, and not on where it stands among others."""
    values = setting.model_dump(mode="json", exclude={"num_processes", "comparison"})
    return hashlib.blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=8).hexdigest()


def _summary(result: Finetuned, held_out: HeldOut) -> Run:
    metrics = {"loss": result.held_out_loss(), **held_out.metrics(result.after)}
    return Run(metrics, result.kept_step, result.curves, result.updates)


def _restored(values: Mapping[str, Any]) -> Run:
    updates = [
        Update(**{**update, "shape": tuple(update["shape"]), "singular_values": tuple(update["singular_values"])})
        for update in values["updates"]
    ]
    return Run(values["metrics"], values["kept_step"], values["curves"], updates)
