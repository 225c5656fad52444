"""A folder of finished runs, as the line leaves them, from predictions written by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from watchline.data.splits import Window
from watchline.data.tables import write_parquet
from watchline.evaluation.measure import EvaluateConfig, Evaluation, Slices, measure
from watchline.evaluation.sliced_rows import to_table
from watchline.models.base import INTERVAL_ENDS
from watchline.report import write_json
from watchline.training.distributed import ALONE
from watchline.training.timings import timing_of, write_timing

ROWS, USERS = 1200, 150
WINDOW = Window(end=date(2024, 3, 14), eval_days=1, finetune_days=1, valid_days=1, train_days=3)
Predict = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Rows:
    """Labels, users and one slice of the rows that every run is measured on."""

    label: np.ndarray
    user: np.ndarray
    slices: list[Slices]


def rows(seed: int = 0, num_users: int = USERS) -> Rows:
    """Watch times of an exponential law, users of unequal activity, and the slices that evaluate cuts."""
    generator = np.random.default_rng(seed)
    label = generator.exponential(20.0, ROWS)
    user = generator.integers(0, num_users, ROWS)
    half = (np.arange(ROWS) % 2).astype(np.int64)
    return Rows(
        label,
        user,
        [
            Slices("Video duration", half, ["short", "long"]),
            Slices("Watch time", half, ["few", "much"]),
            Slices("User activity", np.where(np.arange(ROWS) % 3 == 0, -1, half), ["seldom", "often"]),
        ],
    )


def noisy(noise: float, shift: float = 0.0) -> Predict:
    """The label with noise of its own at every seed."""
    return lambda label, generator: label + shift + generator.normal(0, noise, len(label))


def write_run(place: Path, seed: int, models: Mapping[str, Predict], data: Rows, with_quantiles: str = "") -> None:
    """RUNS/seedN as documented in `watchline.leaderboard.runs`, its timings in RUNS; `with_quantiles` names a model."""
    generator = np.random.default_rng(100 + seed)
    predictions: dict[str, dict[str, np.ndarray]] = {}
    for name, predict in models.items():
        value = predict(data.label, generator)
        predictions[name] = dict.fromkeys(("median", "mean", "expected_rank"), value)
        if name == with_quantiles:
            predictions[name] |= {INTERVAL_ENDS[0]: value - 5, INTERVAL_ENDS[1]: value + 5}
    ids = pl.Series(np.arange(ROWS))
    frame = pl.DataFrame({"exposure_id": ids, "user_id": data.user, "watch_time_s": data.label}).with_columns(
        pl.lit(WINDOW.end).alias("date")
    )
    for name, values in predictions.items():
        of_model = frame.select("exposure_id", "user_id", "date", "watch_time_s").with_columns(
            pl.Series(key, value) for key, value in values.items()
        )
        write_parquet(of_model, place / f"data/evaluate/{name}.parquet")
        write_json(place / f"reports/train/{name}/metrics.json", {"parameters": 1000 * (1 + len(name)), "seed": seed})
        timing = timing_of(2.0 + seed, ROWS, ALONE, 2, resumed=seed == 3)
        write_timing(place.parent, name, place / f"reports/train/{name}/metrics.json", timing)
    write_parquet(to_table(ids, data.slices), place / "data/evaluate/slices/eval.parquet")
    evaluation = Evaluation(data.label, data.user, predictions, {with_quantiles: 0.8} if with_quantiles else {})
    result = measure(evaluation, data.slices, EvaluateConfig(replicates=100), WINDOW)
    write_json(place / "reports/evaluate/metrics.json", result)


def write_runs(folder: Path, models: Mapping[str, Predict], num_users: int = USERS, **plan: Any) -> Path:
    """Runs of every seed of the plan (1 and 2 unless it names others), and plan.json."""
    values: dict[str, Any] = {
        "protocol": "handmade",
        "title": "Labels of an exponential law.",
        "seeds": [1, 2],
        "models": list(models),
        "search_budget": "None.",
        "replicates": 1000,
        **plan,
    }
    for seed in values["seeds"]:
        write_run(folder / f"seed{seed}", seed, models, rows(num_users=num_users), with_quantiles=next(iter(models)))
    write_json(folder / "plan.json", values)
    return folder
