"""Stage finetune: the trained GR model on the freshest days, by the method of `finetune`, on one process or several.

    torchrun --standalone --nproc_per_node=2 -m watchline.stages.finetune --model models/gr --features data/features \
        --out models/gr_finetuned --report reports/finetune

Without torchrun the same command (python -m ...) runs on one process and gives the same model.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from watchline.config import load_section
from watchline.data.splits import Window
from watchline.data.tables import day_path, read_split
from watchline.finetuning.comparison import Comparison, compare
from watchline.finetuning.config import FinetuneConfig, contenders_of
from watchline.finetuning.loop import Finetuned, Finetuner
from watchline.finetuning.page import CURVE_COLUMNS, finetune_metrics, finetune_page
from watchline.finetuning.rows import HeldOut
from watchline.models import load_model
from watchline.report import Page, write_json
from watchline.stages import log, naming_rank, run_stage, runs_folder
from watchline.training.distributed import Processes, process_group
from watchline.training.fingerprint import fingerprint
from watchline.training.seeding import seed_everything


def main(argv: list[str] | None = None) -> None:
    """Fine-tune; the first process writes the model, the metrics, the curves and the page."""
    args = _parser().parse_args(argv)
    with naming_rank("finetune"):
        _run(args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Fine-tune the GR model on the freshest days.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=runs_folder("finetune"), help="folder for checkpoints")
    return parser


def _run(args: argparse.Namespace) -> None:
    window, config = load_section(Window, "window"), load_section(FinetuneConfig, "finetune")
    if window.finetune_days == 0:
        return _skip(args, "window.finetune_days is 0: no days to fine-tune on, so there is no gr_finetuned.")
    settings = contenders_of(config)
    seed_everything(config.seed, config.num_threads)
    table = read_split(args.features / "table", window, "finetune")
    train, held_out, cut = hold_out_last(table, config.holdout_share)
    run_dir = args.runs / _run_name(args, window, config)
    with process_group(config.device) as processes:
        model = _load(args.model)
        rows = HeldOut(
            held_out[model.encoder.columns.label].to_numpy(), held_out["user_id"].to_numpy(), len(train), cut
        )

        def tune(model: Any, setting: FinetuneConfig, run_dir: Path) -> Finetuned:
            return _finetune(model, train, held_out, setting, processes, run_dir)

        result = tune(model, config, run_dir)
        comparison = compare(
            settings, result, rows, lambda setting, path: tune(_load(args.model), setting, path), run_dir, processes
        )
        if not processes.is_first:
            return
        model.network.to("cpu")
        model.save(args.out)
        _write_report(args.report, config, result, rows, comparison)
        shutil.rmtree(run_dir, ignore_errors=True)  # the finished model is the output; nothing is left to rejoin


def _skip(args: argparse.Namespace, reason: str) -> None:
    """Outputs of a run without finetune days: a folder without a model, which later stages pass over, and a page."""
    log(f"finetune: {reason}")
    write_json(args.out / "skipped.json", {"skipped": reason})
    write_json(args.report / "metrics.json", {"skipped": reason})
    _write_curves(args.report, [])
    Page("finetune", "Fine-tuning", reason).write(args.report / "index.html")


def hold_out_last(table: pl.DataFrame, share: float) -> tuple[pl.DataFrame, pl.DataFrame, str]:
    """Rows before a moment, about `share` of the rows from it on, and the moment as text; equal times stay together."""
    if table.is_empty():
        raise ValueError("the finetune days have no rows; check window.* against the feature table")
    times = table["exposed_at"].sort()
    cut = times[min(len(times) - 1, int((1 - share) * len(times)))]
    before, after = table.filter(pl.col("exposed_at") < cut), table.filter(pl.col("exposed_at") >= cut)
    return before, after, f"{cut:%Y-%m-%d %H:%M:%S} UTC"


def _run_name(args: argparse.Namespace, window: Window, config: FinetuneConfig) -> str:
    days = window.split_days("finetune") if window.rows is None else window.days
    params = config.model_dump(mode="json", exclude={"num_processes"})  # it changes no result
    files = [path for path in sorted(args.model.rglob("*")) if path.is_file()]
    files += [day_path(args.features / "table", day) for day in days]
    return fingerprint(
        {"name": "finetune", "days": days, "rows": window.rows and window.rows.model_dump(), "config": params}, files
    )


def _load(directory: Path) -> Any:
    """A model with `network` and `encoder`; raises ValueError for one that has none."""
    model = load_model(directory)
    if not hasattr(model, "network"):
        raise ValueError(f"{directory}: a {model.name} model has no network to fine-tune; give it models/gr")
    return model


def _finetune(
    model: Any, train: pl.DataFrame, held_out: pl.DataFrame, config: FinetuneConfig, processes: Processes, run_dir: Path
) -> Finetuned:
    if processes.is_first:
        rank = f" of rank {config.rank}" if hasattr(config, "rank") else ""
        log(
            f"finetune: {config.method}, {len(train):,} rows, {len(held_out):,} held out; {config.num_slices} slices"
            f"{rank} on {processes.world_size} x {processes.device.type}"
        )
    tables = model.encoder.transform(train), model.encoder.transform(held_out)
    network = model.network.to(processes.device)
    return Finetuner(network, *tables, config, processes, run_dir, log).run()


def _write_report(
    directory: Path, config: FinetuneConfig, result: Finetuned, rows: HeldOut, comparison: Comparison | None
) -> None:
    metrics = finetune_metrics(config.method, result, rows, config.seed, comparison)
    write_json(directory / "metrics.json", metrics)
    _write_curves(directory, result.curves)
    params = config.model_dump(mode="json", exclude={"num_processes", "comparison"})
    shown = {name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in params.items()}
    finetune_page(metrics, result, rows, shown, comparison).write(directory / "index.html")


def _write_curves(directory: Path, curves: Sequence[Mapping[str, float]]) -> None:
    with (directory / "curves.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, CURVE_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{value:.10g}" for name, value in row.items()} for row in curves)


if __name__ == "__main__":
    run_stage(main)
