"""Stage train@{model}: one model of the matrix on the training days, stopped early on the validation days.

    PYTHONPATH=src python -m watchline.stages.train --model gr --features data/features --out models/gr \
        --report reports/train/gr

With `train.common.num_processes` above 1 the stage starts itself anew under torchrun, whose processes share every
batch; under a torchrun of one's own (several machines, which then share `--runs` and `--features`) it joins that one.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from watchline.config import Config, load_section
from watchline.data.columns import Columns
from watchline.data.splits import Window
from watchline.data.tables import day_path, num_rows, scan_split
from watchline.metrics import interval_metrics, mae, pit_coverage, rmse, xauc
from watchline.models import model_module
from watchline.models.base import (
    INTERVAL_ENDS,
    INTERVAL_MASS,
    STATISTIC_OF_METRIC,
    DistributionModel,
    Fit,
    FitContext,
    WatchTimeModel,
)
from watchline.models.common import CommonConfig
from watchline.report import write_json
from watchline.stages import log, naming_rank, run_stage, runs_folder
from watchline.training.distributed import ALONE, process_group
from watchline.training.fingerprint import fingerprint
from watchline.training.loop import hosted_shards
from watchline.training.page import train_page, write_curves
from watchline.training.seeding import seed_everything
from watchline.training.timings import timing_of, write_timing

METRICS = {"mae_s": mae, "rmse_s": rmse, "xauc": xauc}


def main(argv: list[str] | None = None) -> None:
    """Fit a model and write it, its validation metrics, its curves and its page."""
    args = _parser().parse_args(argv)
    window, common = load_section(Window, "window"), load_section(CommonConfig, "train.common")
    module = model_module(args.model)
    config = load_section(module.CONFIG, f"train.{args.model}")
    shared = module.MODEL.distributed
    if shared and common.num_processes > 1 and "WORLD_SIZE" not in os.environ:
        hosted_shards(config.num_shards, replace(ALONE, world_size=common.num_processes))
        _start_torchrun(common.num_processes, sys.argv[1:] if argv is None else argv)
    with naming_rank("train") if shared and "WORLD_SIZE" in os.environ else nullcontext():
        _run(args, window, common, config, module)


def _start_torchrun(num_processes: int, argv: Sequence[str]) -> None:
    """Become torchrun with this stage as its program; does not return."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={num_processes}"]
    os.execv(sys.executable, [sys.executable, *launcher, "-m", "watchline.stages.train", *argv])


def _run(args: argparse.Namespace, window: Window, common: CommonConfig, config: Config, module: Any) -> None:
    columns = Columns.read(args.features / "schema.json")
    train, valid = (scan_split(args.features / "table", window, split) for split in ("train", "valid"))
    rows = {"train": num_rows(train), "valid": num_rows(valid)}
    with process_group(common.device) as processes:
        if not module.MODEL.distributed:
            if not processes.is_first:
                return
            processes = replace(ALONE, device=processes.device)
        progress = log if processes.is_first else _quiet
        progress(
            f"train {args.model}: {rows['train']:,} training rows, {rows['valid']:,} validation rows, "
            f"on {processes.world_size} x {processes.device.type}"
        )
        run_dir = args.runs / run_name(args.model, args.features, window, common, config, processes.world_size)
        seed_everything(common.seed, common.num_threads)
        resumed, started = run_dir.exists(), time.perf_counter()
        fit: Fit = module.fit(config, common, train, valid, columns, FitContext(run_dir, progress, processes))
        seconds = time.perf_counter() - started
    # The others are done: what follows is no work to share, and nobody waits for it.
    if processes.is_first:
        fit.model.save(args.out)
        _report(args, fit, config, rows, valid.collect(), columns)
        timing = timing_of(seconds, rows["train"], processes, common.num_threads, resumed)
        write_timing(args.runs, args.model, args.report / "metrics.json", timing)
        shutil.rmtree(run_dir, ignore_errors=True)  # the finished model is the output; nothing is left to rejoin


def _quiet(message: str) -> None:
    """Progress of a process that is not the first."""


def _report(
    args: argparse.Namespace, fit: Fit, config: Config, rows: dict[str, int], valid: pl.DataFrame, columns: Columns
) -> None:
    metrics = {
        "model": args.model,
        "valid": {**validation_metrics(fit.model, valid, columns.label), "rows": rows["valid"]},
        "train": {"rows": rows["train"]},
        "statistics": STATISTIC_OF_METRIC,
        **fit.facts,
    }
    write_curves(fit.curves, args.report / "curves.csv")
    write_json(args.report / "metrics.json", metrics)
    page = train_page(args.model, metrics, fit.curves, fit.facts, config.model_dump(mode="json"))
    page.write(args.report / "index.html")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Fit one model of the matrix.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=runs_folder("train"), help="checkpoints and timings")
    return parser


def run_name(
    model: str, features: Path, window: Window, common: CommonConfig, config: Config, num_processes: int
) -> str:
    """Name of the folder of checkpoints: only the same fit on as many processes finds them again."""
    days = window.split_days("train", "valid") if window.rows is None else window.days
    params = {key: part.model_dump(mode="json") for key, part in [("common", common), ("model", config)]}
    params["common"]["num_processes"] = num_processes
    files = [features / "schema.json", *(day_path(features / "table", day) for day in days)]
    return fingerprint({"name": model, "days": days, "rows": window.rows and window.rows.model_dump(), **params}, files)


def validation_metrics(model: WatchTimeModel, valid: pl.DataFrame, label: str) -> dict[str, Any]:
    """MAE, RMSE and XAUC on labelled rows, each of the statistic that fits it; of a distribution its 80 % interval.

    None for a metric that is not defined on these rows.
    """
    ends = INTERVAL_ENDS if isinstance(model, DistributionModel) else ()
    predicted = model.predict(valid, (*STATISTIC_OF_METRIC.values(), *ends))
    truth = valid[label].to_numpy()
    measured = {name: metric(truth, predicted[STATISTIC_OF_METRIC[name]]) for name, metric in METRICS.items()}
    found: dict[str, Any] = {name: value if math.isfinite(value) else None for name, value in measured.items()}
    if isinstance(model, DistributionModel):
        pit = pit_coverage(*model.cumulative(valid), INTERVAL_MASS)
        found["interval_80"] = {**interval_metrics(truth, *(predicted[end] for end in ends)), "coverage_pit": pit}
    return found


if __name__ == "__main__":
    run_stage(main)
