"""Stage train of recipes/llm_sft: a causal language model fine-tuned on instructions, on one process or several.

    torchrun --standalone --nproc_per_node=8 -m watchline.sft.train --out models/tuned --report reports/train

Without torchrun the same command (python -m ...) runs on one process and gives the same model.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from pathlib import Path
from typing import Any

from watchline.adapters.tuner import build_tuner
from watchline.config import load_section
from watchline.report.json_file import write_json
from watchline.sft.batches import Schedule, one_per_row, pack
from watchline.sft.config import SFTConfig
from watchline.sft.examples import jsonl_files, read_examples
from watchline.sft.loop import CURVE_COLUMNS, Material, Training
from watchline.sft.models import check_isolation, load_model, load_tokenizer, prepare, save
from watchline.sft.tokens import TokenSet, tokenize
from watchline.stages import log, naming_rank, run_stage
from watchline.training.distributed import Processes, process_group
from watchline.training.fingerprint import fingerprint
from watchline.training.seeding import seed_everything


def main(argv: list[str] | None = None) -> None:
    """Fine-tune; the first process writes the model, the metrics and the curves."""
    args = _parser().parse_args(argv)
    with naming_rank("train"):
        _run(args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Fine-tune a causal language model on instructions.")
    parser.add_argument("--out", type=Path, required=True, help="folder for model and tokenizer")
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/train"), help="folder for checkpoints")
    return parser


def _run(args: argparse.Namespace) -> None:
    config: SFTConfig = load_section(SFTConfig, "train")
    config.check_sources()
    seed_everything(config.seed, config.num_threads)
    tokenizer = load_tokenizer(config.model)
    tokens = tokenize(read_examples(config.data), tokenizer, config.sequence)
    material = _material(tokens, tokenizer, config)
    run_dir = args.runs / _run_name(config)
    with process_group(config.device) as processes:
        _show_progress_once(processes)
        _announce(tokens, material, config, processes)
        model, curves = _train(material, config, processes, run_dir)
        if not processes.is_first:
            return
        save(model.to("cpu"), tokenizer, config.sequence.template, args.out)
        _write_report(args.report, tokens, material, curves, config)
        shutil.rmtree(run_dir, ignore_errors=True)  # the finished model is the output; nothing is left to rejoin


def _material(tokens: TokenSet, tokenizer: Any, config: SFTConfig) -> Material:
    packing = config.sequence.packing
    rows = pack(tokens.sequences, config.sequence.length) if packing else one_per_row(tokens.sequences)
    pad_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    schedule = Schedule(len(rows), config.tuner.num_slices, config.rows_per_slice, config.seed)
    return Material(tokens.sequences, rows, schedule, pad_id)


def _run_name(config: SFTConfig) -> str:
    params = config.model_dump(mode="json", exclude={"num_processes", "checkpoint_every"})  # change no result
    files = jsonl_files(config.data.path) if config.data.path else []
    if config.model.path:
        files = [*files, *(path for path in sorted(config.model.path.rglob("*")) if path.is_file())]
    return fingerprint({"name": "sft", "config": params}, files)


def _show_progress_once(processes: Processes) -> None:
    if not processes.is_first:
        from transformers.utils import logging

        logging.disable_progress_bar()


def _announce(tokens: TokenSet, material: Material, config: SFTConfig, processes: Processes) -> None:
    if processes.is_first:
        log(
            f"train: {config.model.name} by {config.tuner.method} on {len(tokens.sequences):,} examples in "
            f"{len(material.rows):,} sequences ({tokens.num_truncated:,} cut, {tokens.num_dropped:,} without room for "
            f"a response dropped); {config.tuner.num_slices} slices on {processes.world_size} x {processes.device.type}"
        )


def _train(
    material: Material, config: SFTConfig, processes: Processes, run_dir: Path
) -> tuple[Any, list[dict[str, float]]]:
    model = load_model(config.model, config.precision).to(processes.device)
    if config.sequence.packing:
        check_isolation(model)
    prepare(model, activation_checkpointing=config.activation_checkpointing)
    tuner = build_tuner(model, config.tuner, seed=config.seed)
    curves = Training(model, tuner, material, config, processes, run_dir, log).run()
    tuner.finish()
    return model, curves


def _write_report(
    directory: Path, tokens: TokenSet, material: Material, curves: list[dict[str, float]], config: SFTConfig
) -> None:
    metrics = {
        "method": config.tuner.method,
        "examples": {
            "trained_on": len(tokens.sequences),
            "truncated": tokens.num_truncated,
            "dropped": tokens.num_dropped,
        },
        "sequences": len(material.rows),
        "response_tokens": tokens.num_targets,
        "steps": curves[-1]["step"],
        "first_loss": curves[0]["loss"],
        "last_loss": curves[-1]["loss"],
    }
    write_json(directory / "metrics.json", metrics)
    with (directory / "curves.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, CURVE_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{value:.10g}" for name, value in row.items()} for row in curves)


if __name__ == "__main__":
    run_stage(main)
