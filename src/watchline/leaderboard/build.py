"""A folder of runs into one leaderboard: what is measured of them, as the page, the CSV and metrics.json show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from watchline.leaderboard.plan import Plan, read_plan
from watchline.leaderboard.runs import SeedRun, missing, read_runs
from watchline.leaderboard.significance import COMPARED, Comparison, compare, draw
from watchline.leaderboard.summary import (
    ACCURACY,
    COST,
    TRUST,
    Summary,
    best_of,
    single_models,
    slice_rows,
    statistic_of,
    summarise,
)
from watchline.leaderboard.verdict import Loss, Win, losses, sentences, winners


@dataclass(frozen=True)
class Leaderboard:
    """Everything measured of a protocol's runs. `references`: metric -> the best single method in it."""

    plan: Plan
    seeds: list[int]
    rows: int
    users: int
    window: dict[str, Any]
    best_constant: dict[str, float]
    summary: Summary
    references: dict[str, str]
    against_baseline: list[Comparison]
    against_best: list[Comparison]
    slices: dict[str, list[dict[str, Any]]]
    wins: dict[str, Win]
    behind: list[Loss]
    verdict: list[str]
    missing: list[str]
    devices: dict[str, str]


def build(folder: Path, timings: Path) -> Leaderboard:
    """Read `folder` (its plan.json and runs) and `timings` (of the train stage) and measure.

    Raises ValueError naming what is missing or does not fit.
    """
    plan = read_plan(folder / "plan.json")
    runs = read_runs(folder, plan, timings)
    summary = summarise(runs)
    singles = single_models(summary, plan)
    if not singles:
        raise ValueError(f"{folder}/plan.json: every model of the runs is `beside`; leave at least one to compete")
    draws = draw(runs, list(summary), plan)
    references = {
        metric: best_of(summary, metric, singles)
        for metric in COMPARED
        if any(metric in summary[name] for name in singles)
    }
    against_best = compare(draws, references)
    wins = winners(summary, plan, against_best)
    slices = slice_rows(runs, list(summary))
    behind = losses(slices, wins, plan.subject)
    first = runs[0]
    return Leaderboard(
        plan,
        [run.seed for run in runs],
        len(first.evaluation.label),
        len(set(first.evaluation.user.tolist())),
        first.window,
        first.best_constant,
        summary,
        references,
        compare(draws, dict.fromkeys(COMPARED, plan.baseline)),
        against_best,
        slices,
        wins,
        behind,
        sentences(wins, plan, summary, against_best, behind),
        missing(runs, plan),
        _devices(runs),
    )


def _devices(runs: Sequence[SeedRun]) -> dict[str, str]:
    """Model -> where its fits were timed, as `cpu, 1 x 2 threads`; all places, where seeds differ."""
    found: dict[str, list[str]] = {}
    for run in runs:
        for name, timing in run.timings.items():
            found.setdefault(name, []).append(f"{timing.device}, {timing.processes} x {timing.threads} threads")
    return {name: " / ".join(dict.fromkeys(places)) for name, places in found.items()}


def as_json(board: Leaderboard) -> dict[str, Any]:
    """The content of metrics.json."""
    summary = {
        model: {key: asdict(spread) for key, spread in values.items()} for model, values in board.summary.items()
    }
    return {
        "protocol": board.plan.protocol,
        "title": board.plan.title,
        "overrides": board.plan.overrides,
        "seeds": board.seeds,
        "rows": board.rows,
        "users": board.users,
        "window": board.window,
        "best_constant": board.best_constant,
        "models": summary,
        "beside": board.plan.beside,
        "statistics": {key: statistic_of(key) for key in ACCURACY},
        "against_baseline": [_of_comparison(each) for each in board.against_baseline],
        "against_best": [_of_comparison(each) for each in board.against_best],
        "slices": board.slices,
        "winners": {metric: asdict(win) for metric, win in board.wins.items()},
        "behind": [{**asdict(loss), "gap": loss.gap} for loss in board.behind],
        "verdict": board.verdict,
        "missing": board.missing,
        "as_published": [block.model_dump() for block in board.plan.published],
        "search_budget": board.plan.search_budget,
        "replicates": board.plan.replicates,
    }


def _of_comparison(each: Comparison) -> dict[str, Any]:
    return {**asdict(each), "significant": each.is_significant}


def write_csv(board: Leaderboard, path: Path) -> None:
    """One row a model: mean, standard deviation, least and most over seeds of every number; measured ones alone."""
    rows: list[dict[str, Any]] = []
    for model, values in board.summary.items():
        seeds = max(spread.seeds for spread in values.values())
        row: dict[str, Any] = {"protocol": board.plan.protocol, "model": model, "seeds": seeds}
        for key in (*ACCURACY, *TRUST, *COST):
            spread = values.get(key)
            for part, field in (("", "mean"), ("_sd", "sd"), ("_min", "low"), ("_max", "high")):
                row[key + part] = getattr(spread, field) if spread else None
        rows.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, infer_schema_length=None).write_csv(path)
