"""Mean and spread over the seeds of everything that is measured of a model, and its slices."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from watchline.evaluation.measure import STATISTIC, Slices
from watchline.leaderboard.plan import Plan
from watchline.leaderboard.runs import SeedRun
from watchline.report.metric_words import DISTANCE

ACCURACY = ("mae_s", "rmse_s", "xauc", "xauc_all_pairs", "gauc")
TRUST = ("coverage", "coverage_pit", "width_s", "calibration")
COST = ("seconds", "rows_per_s", "parameters")
SLICED = ("Video duration", "User activity", "Cold users and videos")
OF_SLICES = ("mae_s", "xauc")


@dataclass(frozen=True)
class Spread:
    """A number over the seeds that have it: mean, standard deviation (None for one seed), least, most, how many."""

    mean: float
    sd: float | None
    low: float
    high: float
    seeds: int


Summary = dict[str, dict[str, Spread]]  # model -> number -> spread


def spread_of(values: Iterable[float | None]) -> Spread | None:
    """None where no seed has a number."""
    known = [float(value) for value in values if value is not None and math.isfinite(value)]
    if not known:
        return None
    sd = statistics.stdev(known) if len(known) > 1 else None
    return Spread(statistics.fmean(known), sd, min(known), max(known), len(known))


def model_names(runs: Sequence[SeedRun]) -> list[str]:
    """Every model that a run has, in the order in which they first come."""
    return list(dict.fromkeys(name for run in runs for name in run.metrics))


def summarise(runs: Sequence[SeedRun]) -> Summary:
    """Numbers of ACCURACY, TRUST and COST of every model, by rising MAE; a number that no seed has is left out.

    Seconds of a fit that rejoined a checkpoint are those of its last part alone, so they are left out too.
    """
    found: Summary = {}
    for name in model_names(runs):
        spreads = {
            key: spread_of(read(run, name) for run in runs if name in run.metrics) for key, read in _READERS.items()
        }
        found[name] = {key: spread for key, spread in spreads.items() if spread is not None}
    return dict(sorted(found.items(), key=lambda item: (item[1]["mae_s"].mean, item[0])))


def _metric(key: str) -> Callable[[SeedRun, str], float | None]:
    return lambda run, name: run.metrics[name].get(key)


def _interval(key: str) -> Callable[[SeedRun, str], float | None]:
    return lambda run, name: run.metrics[name].get("interval_80", {}).get(key)


def _timing(key: str) -> Callable[[SeedRun, str], float | None]:
    def read(run: SeedRun, name: str) -> float | None:
        timing = run.timings.get(name)
        return None if timing is None or timing.resumed else float(getattr(timing, key))

    return read


_READERS: dict[str, Callable[[SeedRun, str], float | None]] = {
    **{key: _metric(key) for key in (*ACCURACY, "calibration")},
    **{key: _interval(key) for key in ("coverage", "coverage_pit", "width_s")},
    **{key: _timing(key) for key in ("seconds", "rows_per_s")},
    "parameters": lambda run, name: run.parameters.get(name),
}


def best_of(summary: Summary, metric: str, models: Sequence[str]) -> str:
    """The model whose mean is nearest to the ideal of the metric; the first by name of equal ones.

    Raises ValueError where none of the models has it.
    """
    known = [name for name in models if metric in summary.get(name, {})]
    if not known:
        raise ValueError(f"no model has {metric}; it is not defined on these rows, or nothing was run")
    return min(known, key=lambda name: (DISTANCE[metric](summary[name][metric].mean), name))


def single_models(summary: Summary, plan: Plan) -> list[str]:
    """Models that compete: one method each, trained on the same rows."""
    return [name for name in summary if name not in plan.beside]


def slice_rows(runs: Sequence[SeedRun], models: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Per slice and bucket: rows, and the mean over seeds of MAE and XAUC of each model (None: not defined there)."""
    return {part.title: _buckets(runs, models, part) for part in runs[0].slices if part.title in SLICED}


def _buckets(runs: Sequence[SeedRun], models: Sequence[str], part: Slices) -> list[dict[str, Any]]:
    found = []
    for bucket in sorted(set(part.bucket.tolist())):
        members = part.bucket == bucket
        row: dict[str, Any] = {"bucket": part.names[bucket] if bucket >= 0 else "unknown", "rows": int(members.sum())}
        for metric in OF_SLICES:
            row[metric] = {}
            for name in models:
                values = (run.evaluation.metric(metric, name, rows=members) for run in runs if name in run.metrics)
                spread = spread_of(values)
                row[metric][name] = spread and spread.mean
        found.append(row)
    return found


def statistic_of(metric: str) -> str | None:
    """The statistic of a model's distribution that a metric is computed from; None for costs and intervals."""
    return STATISTIC.get(metric)
