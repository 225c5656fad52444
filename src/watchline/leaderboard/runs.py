"""The finished runs of a protocol: predictions, slices, metrics and timings of every seed.

RUNS/plan.json
RUNS/seed1/data/evaluate/{MODEL.parquet, slices/eval.parquet}   as the evaluate stage wrote them
RUNS/seed1/reports/evaluate/metrics.json
RUNS/seed1/reports/train/MODEL/metrics.json

Timings of the fits lie where the train stage kept them (`watchline.training.timings`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from watchline.data.tables import read_parquet
from watchline.evaluation.measure import STATISTICS, Evaluation, Slices
from watchline.evaluation.sliced_rows import ROW, from_table
from watchline.leaderboard.plan import Plan
from watchline.report import read_json
from watchline.training.timings import Timing, read_timing

KEYS = (ROW, "user_id", "date")


@dataclass(frozen=True)
class SeedRun:
    """One run of the line: all its models on the same rows.

    `metrics`: what evaluate measured, by model; `parameters`: of models that tell them; `timings`: of models whose
    fit was timed on the machine that holds the runs.
    """

    seed: int
    evaluation: Evaluation
    slices: list[Slices]
    metrics: dict[str, dict[str, Any]]
    parameters: dict[str, int]
    timings: dict[str, Timing]
    window: dict[str, Any]
    best_constant: dict[str, float]


def read_runs(folder: Path, plan: Plan, timings: Path) -> list[SeedRun]:
    """Every seed of the plan that has a run, in order; `timings`: the folder that the train stage ran with as `--runs`.

    Raises ValueError naming the file that is not of the same rows, or saying that no seed has a run.
    Seeds may differ in nothing but the seed, so all must have the exposures and labels of the first.
    """
    runs: list[SeedRun] = []
    first: pl.DataFrame | None = None
    for seed in plan.seeds:
        place = folder / f"seed{seed}"
        if not (place / "reports/evaluate/metrics.json").is_file():
            continue
        run, rows = _read(place, seed, timings)
        first = rows if first is None else first
        if not rows.equals(first):
            raise ValueError(
                f"{place}: its exposures or labels are not those of seed {runs[0].seed}; remove the folder of the seed "
                "that was run on other data and run it again"
            )
        runs.append(run)
    if not runs:
        failed = "".join(f"\nseed {seed}: {lines[-1]}" for seed, lines in plan.failures.items() if lines)
        raise ValueError(f"{folder}: no finished run of {plan.protocol}; see what failed and run it again{failed}")
    return runs


def _read(place: Path, seed: int, timings: Path) -> tuple[SeedRun, pl.DataFrame]:
    """One run, and the keys and labels of its rows."""
    result = read_json(place / "reports/evaluate/metrics.json", ["models", "window", "best_constant"])
    frames = {name: read_parquet(place / f"data/evaluate/{name}.parquet") for name in result["models"]}
    first = next(iter(frames.values()))
    rows = first.select(first.columns[: first.columns.index(STATISTICS[0])])
    label = next(column for column in rows.columns if column not in KEYS)
    predictions = {}
    for name, frame in frames.items():
        if not frame.select(rows.columns).equals(rows):
            raise ValueError(f"{place}/data/evaluate/{name}.parquet: its rows are not those of the other models")
        predictions[name] = {column: frame[column].to_numpy() for column in frame.columns if column not in rows.columns}
    pit = {
        name: values["interval_80"]["coverage_pit"]
        for name, values in result["models"].items()
        if "interval_80" in values
    }
    evaluation = Evaluation(rows[label].to_numpy(), rows["user_id"].to_numpy(), predictions, pit)
    sliced = read_parquet(place / "data/evaluate/slices/eval.parquet")
    if not sliced[ROW].equals(rows[ROW]):
        raise ValueError(f"{place}/data/evaluate/slices/eval.parquet: its rows are not those of the predictions")
    names = list(frames)
    run = SeedRun(
        seed,
        evaluation,
        from_table(sliced),
        result["models"],
        {name: count for name in names if (count := _parameters(place, name)) is not None},
        {name: timing for name in names if (timing := _timing(place, name, timings)) is not None},
        result["window"],
        result["best_constant"],
    )
    return run, rows


def _parameters(place: Path, model: str) -> int | None:
    """What the train stage counted, members of an ensemble together; None where it tells nothing of the model."""
    path = place / "reports/train" / model / "metrics.json"
    facts = read_json(path) if path.is_file() else {}
    counts = [value for key, value in facts.items() if key == "parameters" or key.endswith("_parameters")]
    return sum(counts) if counts else None


def _timing(place: Path, model: str, timings: Path) -> Timing | None:
    path = place / "reports/train" / model / "metrics.json"
    return read_timing(timings, model, path) if path.is_file() else None


def missing(runs: list[SeedRun], plan: Plan) -> list[str]:
    """What the plan asks for and no run has, in words."""
    there = {run.seed: run for run in runs}
    words = []
    for seed in plan.seeds:
        if seed not in there:
            failed = plan.failures.get(seed)
            words.append(f"seed {seed}: " + ("failed: " + " / ".join(failed) if failed else "not run"))
        elif lacking := [name for name in plan.models if name not in there[seed].metrics]:
            words.append(f"seed {seed}: no {', '.join(lacking)}")
    return words
