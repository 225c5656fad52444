"""What is measured of models on the same rows: metrics by fitting statistic, intervals, differences, slices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field, field_validator

from watchline import metrics
from watchline.config import Config
from watchline.data.splits import Window
from watchline.evaluation.intervals import central_interval
from watchline.models.base import INTERVAL_ENDS, STATISTIC_OF_METRIC

STATISTICS = ("median", "mean", "expected_rank")
SECONDS = ("median", "mean")  # the statistics that are watch times, not ranks
OF_ORDER = ("xauc", "xauc_all_pairs", "gauc")

# Metric of a model -> the statistic it is computed from.
STATISTIC = {
    **STATISTIC_OF_METRIC,
    **dict.fromkeys(OF_ORDER, STATISTIC_OF_METRIC["xauc"]),
    "calibration": "mean",
    "mae_near_zero_s": STATISTIC_OF_METRIC["mae_s"],
    "bias_near_zero_s": STATISTIC_OF_METRIC["mae_s"],
}
METRIC: dict[str, Callable[..., float]] = {
    "mae_s": metrics.mae,
    "rmse_s": metrics.rmse,
    "xauc": metrics.xauc,
    "xauc_all_pairs": metrics.xauc_all_pairs,
    "gauc": metrics.gauc,
    "calibration": metrics.calibration,
    "mae_near_zero_s": metrics.mae_near_zero,
    "bias_near_zero_s": metrics.bias_near_zero,
}


class EvaluateConfig(Config):
    """Section `evaluate` of params.yaml."""

    baseline: str = "lightgbm"
    replicates: int = Field(default=1000, ge=100, le=100_000, description="draws of the bootstrap by user")
    train_rows: int = Field(default=20_000, ge=1, description="rows of train, and of finetune, predicted for drift")
    seed: int = Field(default=1, ge=0)
    num_threads: int = Field(default=2, ge=1, description="fixed, because sums depend on how work is split")
    duration_edges_s: list[float] = Field(default=[7, 18, 60, 180], min_length=1)
    watch_time_edges_s: list[float] = Field(default=[1, 5, 20, 60], min_length=1)
    activity_edges: list[int] = Field(default=[1, 5, 20, 50], min_length=1, description="exposures on training days")

    @field_validator("duration_edges_s", "watch_time_edges_s", "activity_edges")
    @classmethod
    def _rising(cls, edges: list[float]) -> list[float]:
        if any(high <= low for low, high in pairwise(edges)):
            raise ValueError("bucket edges must rise")
        return edges


@dataclass(frozen=True)
class Evaluation:
    """Labels and users of the eval rows (B,), of each model each statistic (B,), and of those with quantiles the
    coverage of their 80 % interval with atoms shared out (`pit_coverage`)."""

    label: np.ndarray
    user: np.ndarray
    predictions: dict[str, dict[str, np.ndarray]]
    pit: dict[str, float]

    def metric(
        self, name: str, model: str, statistic: str | None = None, rows: np.ndarray | None = None
    ) -> float | None:
        """One metric of one model, by its own statistic unless another is named; None where it is not defined."""
        take = slice(None) if rows is None else rows
        score = self.predictions[model][statistic or STATISTIC[name]][take]
        users = (self.user[take],) if name == "gauc" else ()
        return _plain(METRIC[name](self.label[take], score, *users))


@dataclass(frozen=True)
class Slices:
    """One way to cut the eval rows: bucket (B,) of each row, -1 for none, and the buckets' names."""

    title: str
    bucket: np.ndarray
    names: list[str]
    note: str = ""


def measure(evaluation: Evaluation, slices: Sequence[Slices], config: EvaluateConfig, window: Window) -> dict[str, Any]:
    """The content of metrics.json; the first of `slices` is by duration of the video."""
    durations = slices[0]
    first, last = window.ranges["eval"] if window.rows is None else (window.start, window.end)
    result: dict[str, Any] = {
        "models": {name: _of_model(evaluation, name, durations) for name in evaluation.predictions},
        "statistics": STATISTIC,
        "intervals": intervals(evaluation, config),
        "slices": [{"title": part.title, "note": part.note, "rows": _by_bucket(evaluation, part)} for part in slices],
        "window": {
            "eval_first": first.isoformat(),
            "eval_last": last.isoformat(),
            "eval_days": (last - first).days + 1,
            "eval": window.described["eval"],
        },
        "best_constant": best_constant(evaluation.label),
        "users": len(np.unique(evaluation.user)),
    }
    if config.baseline in evaluation.predictions:
        result["baseline"] = config.baseline
        result["differences"] = differences(evaluation, config)
    return result


def _of_model(evaluation: Evaluation, name: str, durations: Slices) -> dict[str, Any]:
    """Every metric of one model, and `interval_80` where it gives quantiles."""
    predictions = evaluation.predictions[name]
    found: dict[str, Any] = {"rows": len(evaluation.label)}
    found |= {key: evaluation.metric(key, name) for key in METRIC}
    if set(INTERVAL_ENDS) <= set(predictions):
        interval = central_interval(evaluation.label, predictions, durations.bucket, durations.names)
        found["interval_80"] = {"coverage_pit": evaluation.pit[name], **interval}
    return found


def best_constant(label: np.ndarray) -> dict[str, float]:
    """Errors of the best single number in hindsight: the median of the eval labels for MAE, their mean for RMSE."""
    median, mean = float(np.median(label)), float(label.mean())
    return {
        "mae_s": metrics.mae(label, np.full_like(label, median)),
        "rmse_s": metrics.rmse(label, np.full_like(label, mean)),
        "median_s": median,
        "mean_s": mean,
    }


def intervals(evaluation: Evaluation, config: EvaluateConfig) -> dict[str, dict[str, dict[str, float | None]]]:
    """Model -> metric that has a bootstrap -> ends of its 95 % interval, from the same draws of users for all.

    None for fewer than `metrics.LEAST_USERS` users, as in `differences`.
    """
    asked = {
        (name, metric): (metric, [predictions[STATISTIC[metric]]])
        for name, predictions in evaluation.predictions.items()
        for metric in metrics.BOOTSTRAP_METRICS
    }
    found: dict[str, dict[str, dict[str, float | None]]] = {name: {} for name in evaluation.predictions}
    drawn = metrics.bootstrap_of_seeds(evaluation.label, asked, evaluation.user, config.replicates, config.seed)
    for (name, metric), replicates in drawn.items():
        low, high = metrics.interval_of_draws(replicates.draws_R, replicates.num_users)
        found[name][metric] = {"low": _plain(low), "high": _plain(high)}
    return found


def differences(evaluation: Evaluation, config: EvaluateConfig) -> dict[str, dict[str, dict[str, float | None]]]:
    """Model minus baseline for each metric that has a bootstrap, with the 95 % interval by user."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    baseline = evaluation.predictions[config.baseline]
    for name, candidate in evaluation.predictions.items():
        if name == config.baseline:
            continue
        found[name] = {}
        for metric in metrics.BOOTSTRAP_METRICS:
            pair = candidate[STATISTIC[metric]], baseline[STATISTIC[metric]]
            interval = metrics.paired_bootstrap(
                metric, evaluation.label, *pair, evaluation.user, config.replicates, config.seed
            )
            found[name][metric] = {key: _plain(getattr(interval, key)) for key in ("value", "low", "high")}
    return found


def cut(table: pl.DataFrame, history: pl.DataFrame, label: str, config: EvaluateConfig) -> list[Slices]:
    """The page's slices: duration, watch time, user activity, users and videos never seen on the training days."""
    of_user, of_video = _times_seen(table, history, "user_id"), _times_seen(table, history, "video_id")
    duration = table["duration_s"].cast(pl.Float64).fill_null(math.nan).to_numpy()
    return [
        Slices(
            "Video duration",
            metrics.bucket_index(duration, config.duration_edges_s),
            metrics.bucket_names(config.duration_edges_s, "s"),
        ),
        Slices(
            "Watch time",
            metrics.bucket_index(table[label].to_numpy(), config.watch_time_edges_s),
            metrics.bucket_names(config.watch_time_edges_s, "s"),
            "Buckets of the label itself: they show where a model shrinks to the middle, not which model is better.",
        ),
        Slices(
            "User activity",
            metrics.bucket_index(of_user, config.activity_edges),
            metrics.bucket_names(config.activity_edges),
            "Exposures of the user on the training days.",
        ),
        Slices(
            "Cold users and videos",
            2 * (of_user == 0) + (of_video == 0),
            ["known user, known video", "known user, cold video", "cold user, known video", "cold user, cold video"],
            "Cold: no exposure on the training days.",
        ),
    ]


def _times_seen(table: pl.DataFrame, history: pl.DataFrame, key: str) -> np.ndarray:
    counts = history.group_by(key).len("seen")
    seen = table.select(key).join(counts, on=key, how="left", maintain_order="left")["seen"]
    return seen.fill_null(0).to_numpy().astype(np.int64)


def detail(evaluation: Evaluation, config: EvaluateConfig) -> dict[str, Any]:
    """What the page shows beyond metrics.json, as plain numbers."""
    models = evaluation.predictions
    return {
        "by_statistic": [
            {"model": name, "statistic": statistic, **_by_statistic(evaluation, name, statistic)}
            for name in models
            for statistic in STATISTICS
        ],
        "deciles": {
            name: metrics.calibration_by_decile(evaluation.label, values["mean"]) for name, values in models.items()
        },
        "replicates": config.replicates,
    }


def _by_statistic(evaluation: Evaluation, model: str, statistic: str) -> dict[str, float | None]:
    """Errors in seconds only where the statistic is a watch time, ordering of any."""
    shown = ("mae_s", "rmse_s", *OF_ORDER, "calibration")
    return {
        key: evaluation.metric(key, model, statistic) if statistic in SECONDS or key in OF_ORDER else None
        for key in shown
    }


def _by_bucket(evaluation: Evaluation, part: Slices) -> list[dict[str, Any]]:
    rows = []
    for bucket in np.unique(part.bucket):
        members = part.bucket == bucket
        row: dict[str, Any] = {
            "bucket": part.names[bucket] if bucket >= 0 else "unknown",
            "rows": int(members.sum()),
            "mean_label_s": float(evaluation.label[members].mean()),
        }
        for key in ("mae_s", "xauc"):
            row[key] = {name: evaluation.metric(key, name, rows=members) for name in evaluation.predictions}
        rows.append(row)
    return rows


def _plain(value: float) -> float | None:
    """JSON has no nan: a metric that is not defined is null."""
    return value if math.isfinite(value) else None
