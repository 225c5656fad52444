"""Every model on the eval days: predictions, metrics with the statistic that fits each, slices and differences.

Run by `dvc repro evaluate`, or: python -m watchline.stages.evaluate --models models --features data/features
--out data/evaluate --report reports/evaluate
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field, field_validator

from watchline import metrics
from watchline.config import Config, ConfigError, load_section
from watchline.data.splits import Window
from watchline.data.tables import read_days, write_parquet
from watchline.models import load_model
from watchline.models.base import STATISTIC_OF_METRIC, Columns
from watchline.report import Best, Facts, Page, Table, Text, charts, write_json
from watchline.stages import log, run_stage

FINETUNED = "gr_finetuned"
STATISTICS = ("median", "mean", "expected_rank")
SECONDS = ("median", "mean")  # the statistics that are watch times, not ranks

# Metric of a model -> the statistic it is computed from.
STATISTIC = {
    **STATISTIC_OF_METRIC,
    "xauc_all_pairs": STATISTIC_OF_METRIC["xauc"],
    "gauc": STATISTIC_OF_METRIC["xauc"],
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
TITLE = {
    "mae_s": "MAE s",
    "rmse_s": "RMSE s",
    "xauc": "XAUC",
    "xauc_all_pairs": "XAUC, all pairs",
    "gauc": "GAUC",
    "calibration": "calibration",
    "mae_near_zero_s": "MAE s, labels < 1 s",
    "bias_near_zero_s": "bias s, labels < 1 s",
}


class EvaluateConfig(Config):
    """Section `evaluate` of params.yaml."""

    baseline: str = "lightgbm"
    replicates: int = Field(default=1000, ge=100, le=100_000, description="draws of the bootstrap by user")
    seed: int = Field(default=1, ge=0)
    duration_edges_s: list[float] = Field(default=[7, 18, 60, 180], min_length=1)
    watch_time_edges_s: list[float] = Field(default=[1, 5, 20, 60], min_length=1)
    activity_edges: list[int] = Field(default=[1, 5, 20, 50], min_length=1, description="exposures on training days")

    @field_validator("duration_edges_s", "watch_time_edges_s", "activity_edges")
    @classmethod
    def _rising(cls, edges: list[float]) -> list[float]:
        if any(high <= low for low, high in zip(edges, edges[1:])):  # noqa: RUF007
            raise ValueError("bucket edges must rise")
        return edges


@dataclass(frozen=True)
class Evaluation:
    """Labels and users of the eval rows (B,), and of each model each statistic (B,)."""

    label: np.ndarray
    user: np.ndarray
    predictions: dict[str, dict[str, np.ndarray]]

    def metric(self, name: str, model: str, statistic: str | None = None, rows: np.ndarray | None = None) -> float:
        """One metric of one model, by its own statistic unless another is named, on a subset of rows if given."""
        take = slice(None) if rows is None else rows
        score = self.predictions[model][statistic or STATISTIC[name]][take]
        users = (self.user[take],) if name == "gauc" else ()
        return METRIC[name](self.label[take], score, *users)


def main(argv: list[str] | None = None) -> None:
    """Predict, measure, write predictions as Parquet, metrics.json and the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("models", "features", "out", "report"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    paths = parser.parse_args(argv)
    config = load_section(EvaluateConfig, "evaluate")
    window = load_section(Window, "window")
    names = model_names(load_section(list[str], "models"), paths.models)
    columns = Columns.read(paths.features / "schema.json")

    table = read_days(paths.features / "table", window.split_days("eval"))
    if not len(table):
        raise ConfigError(f"{paths.features}: no rows on the eval days {window.ranges['eval']}; move window.end")
    history = read_days(paths.features / "table", window.split_days("train"), ["user_id", "video_id"])
    predictions = {name: predict(paths.models / name, name, table, paths.out) for name in names}
    evaluation = Evaluation(table[columns.label].to_numpy(), table["user_id"].to_numpy(), predictions)

    result = measure(evaluation, config, window)
    write_json(paths.report / "metrics.json", result)
    slices = cut(table, history, columns.label, config)
    page(result, evaluation, slices, config, window).write(paths.report / "index.html")
    for name in names:
        log(f"{name}: MAE {result['models'][name]['mae_s']:.3f} s, XAUC {result['models'][name]['xauc']:.4f}")


def model_names(listed: Sequence[str], models_dir: Path) -> list[str]:
    """The models of `params.models` in order, and the fine-tuned one where there is one."""
    names = list(dict.fromkeys(listed))
    if (models_dir / FINETUNED).is_dir():
        names.append(FINETUNED)
    if not names:
        raise ConfigError("params.yaml: models is empty; list at least one model to evaluate")
    return names


def predict(model_dir: Path, name: str, table: pl.DataFrame, out: Path) -> dict[str, np.ndarray]:
    """Statistics of one model on `table`, written as OUT/NAME.parquet; raises ValueError for one it does not have."""
    model = load_model(model_dir)
    missing = [statistic for statistic in STATISTICS if statistic not in model.statistics]
    if missing:
        raise ValueError(f"{model_dir}: model {name!r} cannot predict {', '.join(missing)}; metrics need {STATISTICS}")
    values = model.predict(table, STATISTICS)
    frame = table.select("exposure_id", "user_id", "date", "watch_time_s")
    write_parquet(frame.with_columns(pl.Series(key, values[key]) for key in STATISTICS), out / f"{name}.parquet")
    log(f"{name}: predicted {len(table):,} rows")
    return values


def measure(evaluation: Evaluation, config: EvaluateConfig, window: Window) -> dict[str, Any]:
    """The content of metrics.json."""
    first, last = window.ranges["eval"]
    result: dict[str, Any] = {
        "models": {
            name: {"rows": len(evaluation.label), **{key: _plain(evaluation.metric(key, name)) for key in METRIC}}
            for name in evaluation.predictions
        },
        "statistics": STATISTIC,
        "window": {"eval_first": first.isoformat(), "eval_last": last.isoformat(), "eval_days": window.eval_days},
        "best_constant": best_constant(evaluation.label),
        "users": len(np.unique(evaluation.user)),
    }
    if config.baseline in evaluation.predictions:
        result["baseline"] = config.baseline
        result["differences"] = differences(evaluation, config)
    return result


def best_constant(label: np.ndarray) -> dict[str, float]:
    """Errors of the best single number in hindsight: the median of the eval labels for MAE, their mean for RMSE."""
    median, mean = float(np.median(label)), float(label.mean())
    return {
        "mae_s": metrics.mae(label, np.full_like(label, median)),
        "rmse_s": metrics.rmse(label, np.full_like(label, mean)),
        "median_s": median,
        "mean_s": mean,
    }


def differences(evaluation: Evaluation, config: EvaluateConfig) -> dict[str, dict[str, dict[str, float | None]]]:
    """Model minus baseline for each metric that has a bootstrap, with the 95 % interval by user."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    baseline = evaluation.predictions[config.baseline]
    for name, candidate in evaluation.predictions.items():
        if name == config.baseline:
            continue
        found[name] = {}
        for metric in metrics.BOOTSTRAP_METRICS:
            statistic = STATISTIC[metric]
            pair = (candidate[statistic], baseline[statistic])
            interval = metrics.paired_bootstrap(
                metric, evaluation.label, *pair, evaluation.user, config.replicates, config.seed
            )
            found[name][metric] = {key: _plain(getattr(interval, key)) for key in ("value", "low", "high")}
    return found


@dataclass(frozen=True)
class Slices:
    """One way to cut the eval rows: bucket (B,) of each row, and the buckets' names."""

    title: str
    note: str
    bucket: np.ndarray
    names: list[str]


def cut(table: pl.DataFrame, history: pl.DataFrame, label: str, config: EvaluateConfig) -> list[Slices]:
    """The page's slices: duration, watch time, user activity, users and videos never seen on the training days."""
    shown_user = _times_seen(table, history, "user_id")
    shown_video = _times_seen(table, history, "video_id")
    duration = table["duration_s"].cast(pl.Float64).fill_null(math.nan).to_numpy()
    by_duration = metrics.bucket_index(duration, config.duration_edges_s)
    duration_names = metrics.bucket_names(config.duration_edges_s, "s")
    by_watch = metrics.bucket_index(table[label].to_numpy(), config.watch_time_edges_s)
    return [
        Slices("Video duration", "", by_duration, duration_names),
        Slices(
            "Watch time",
            "Buckets of the label itself: errors on each side show where a model shrinks towards the middle, not which "
            "model is better.",
            by_watch,
            metrics.bucket_names(config.watch_time_edges_s, "s"),
        ),
        Slices(
            "User activity",
            "Exposures of the user on the training days.",
            metrics.bucket_index(shown_user, config.activity_edges),
            metrics.bucket_names(config.activity_edges),
        ),
        Slices(
            "Cold users and videos",
            "Cold: no exposure on the training days.",
            2 * (shown_user == 0) + (shown_video == 0),
            ["known user, known video", "known user, cold video", "cold user, known video", "cold user, cold video"],
        ),
    ]


def _times_seen(table: pl.DataFrame, history: pl.DataFrame, key: str) -> np.ndarray:
    counts = history.group_by(key).len("seen")
    seen = table.select(key).join(counts, on=key, how="left", maintain_order="left")["seen"]
    return seen.fill_null(0).to_numpy().astype(np.int64)


# -- page -------------------------------------------------------------------------------------------------------------


def page(
    result: dict[str, Any], evaluation: Evaluation, slices: list[Slices], config: EvaluateConfig, window: Window
) -> Page:
    """The page of the stage: leaderboard, differences, every statistic, calibration, slices."""
    first, last = window.ranges["eval"]
    lead = f"{len(evaluation.label):,} exposures of {result['users']:,} users, {first} to {last}."
    built = Page("evaluate", "Offline evaluation", lead)
    built.section("Models", leaderboard(result), note="Each column names the statistic that the model was asked for.")
    if result.get("differences"):
        add_differences(built, result, config)
    built.section(
        "Every statistic of every model",
        statistics_table(evaluation),
        note="The statistic must match the metric: the median minimises MAE, the mean RMSE; XAUC only looks at order.",
    )
    add_calibration(built, evaluation)
    for part in slices:
        built.section(part.title, slice_table(evaluation, part), note=part.note)
    built.section("Definitions", Text(DEFINITIONS), Facts({"bootstrap replicates": config.replicates}))
    return built


DEFINITIONS = (
    "XAUC: share of the pairs of exposures with different watch times that the score orders correctly, ties 1/2. "
    "XAUC, all pairs: pairs with equal watch times count 0 and stay in the denominator. GAUC: XAUC within each user, "
    "weighted by pairs. Calibration: mean prediction / mean watch time. Best constant: the single number that is best "
    "on these very rows, so no constant known beforehand does better. Intervals: paired bootstrap by user, 95 %."
)


# How far a value is from ideal; what has the least is marked as the best of its column.
_DISTANCE: dict[str, Callable[[float], float]] = {
    "calibration": lambda value: abs(math.log(value)) if value > 0 else math.inf,
    "bias_near_zero_s": abs,
    **dict.fromkeys(("xauc", "xauc_all_pairs", "gauc"), lambda value: -value),
    **dict.fromkeys(("mae_s", "rmse_s", "mae_near_zero_s"), float),
}


def leaderboard(result: dict[str, Any]) -> Table:
    """Models against metrics, the best of each column marked, with the best constant as the last row."""
    headers = {key: f"{TITLE[key]} ({STATISTIC[key].replace('_', ' ')})" for key in METRIC}
    rows: list[list[Any]] = [[name, *(values[key] for key in METRIC)] for name, values in result["models"].items()]
    for column, key in enumerate(METRIC, start=1):
        known = [row for row in rows if row[column] is not None]
        if len(known) > 1:
            best = min(known, key=lambda row: _DISTANCE[key](row[column]))
            best[column] = Best(best[column])
    constant = result["best_constant"]
    rows.append(["best constant", *(constant.get(key) for key in METRIC)])
    return Table(["model", *headers.values()], rows, formats={headers[key]: _format(key) for key in METRIC})


def add_differences(built: Page, result: dict[str, Any], config: EvaluateConfig) -> None:
    """A table of all differences, and one chart each for MAE and XAUC."""
    rows = [
        [name, TITLE[metric], STATISTIC[metric].replace("_", " "), *(interval[k] for k in ("value", "low", "high"))]
        for name, by_metric in result["differences"].items()
        for metric, interval in by_metric.items()
    ]
    columns = ["model", "metric", "statistic", "difference", "low", "high"]
    table = Table(columns, rows, formats=dict.fromkeys(columns[3:], "+.4f"))
    names = list(result["differences"])
    figures = []
    for metric in ("mae_s", "xauc"):
        found = [result["differences"][name][metric] for name in names]
        if all(value is not None for interval in found for value in interval.values()):
            ends = [[interval[key] for interval in found] for key in ("value", "low", "high")]
            label = f"{TITLE[metric]}, model minus {config.baseline}"
            figures.append(charts.interval_chart(names, *ends, x_label=label, title=TITLE[metric]))
    note = f"Model minus {config.baseline} on the same rows, 95 % interval of the paired bootstrap by user."
    built.section(f"Differences from {config.baseline}", table, *figures, note=note)


def statistics_table(evaluation: Evaluation) -> Table:
    """A row per model and statistic; errors in seconds only where the statistic is a watch time."""
    shown = ("mae_s", "rmse_s", "xauc", "xauc_all_pairs", "gauc", "calibration")
    rows: list[list[Any]] = []
    for name in evaluation.predictions:
        for statistic in STATISTICS:
            in_seconds = statistic in SECONDS
            values = [
                _plain(evaluation.metric(key, name, statistic)) if in_seconds or "auc" in key else None for key in shown
            ]
            rows.append([name, statistic.replace("_", " "), *values])
    columns = ["model", "statistic", *(TITLE[key] for key in shown)]
    return Table(columns, rows, formats={TITLE[key]: _format(key) for key in shown})


def add_calibration(built: Page, evaluation: Evaluation) -> None:
    """Mean label against mean prediction by decile of the prediction, as a chart and a table."""
    series: dict[str, tuple[list[float], list[float]]] = {}
    rows = []
    for name, values in evaluation.predictions.items():
        bins = metrics.calibration_by_decile(evaluation.label, values["mean"])
        series[name] = ([b["mean_prediction_s"] for b in bins], [b["mean_label_s"] for b in bins])
        rows += [[name, b["bin"], b["rows"], b["mean_prediction_s"], b["mean_label_s"]] for b in bins]
    ends = [end for xs, _ in series.values() for end in (min(xs), max(xs))]
    series["calibrated"] = ([min(ends), max(ends)], [min(ends), max(ends)])
    chart = charts.line_chart(
        series, x_label="mean prediction, s", y_label="mean watch time, s", title="Calibration by decile"
    )
    columns = ["model", "decile", "rows", "mean prediction s", "mean watch time s"]
    table = Table(columns, rows, formats={columns[3]: ".2f", columns[4]: ".2f"})
    built.section("Calibration", chart, table, note="Rows by rising predicted mean, ten parts of equal size.")


def slice_table(evaluation: Evaluation, part: Slices) -> Table:
    """Rows, share and mean watch time of each bucket, and MAE, XAUC and calibration of each model there."""
    headers = {(key, name): f"{TITLE[key]} {name}" for key in ("mae_s", "xauc") for name in evaluation.predictions}
    rows = []
    for bucket in np.unique(part.bucket):
        of_bucket = part.bucket == bucket
        title = part.names[bucket] if bucket >= 0 else "unknown"
        values = [_plain(evaluation.metric(key, name, rows=of_bucket)) for key, name in headers]
        rows.append([title, int(of_bucket.sum()), float(evaluation.label[of_bucket].mean()), *values])
    columns = ["slice", "rows", "mean watch time s", *headers.values()]
    formats = {columns[2]: ".2f"} | {header: _format(key) for (key, _), header in headers.items()}
    return Table(columns, rows, formats=formats)


def _format(metric: str) -> str:
    return ".4f" if "auc" in metric else ".3f"


def _plain(value: float) -> float | None:
    """JSON has no nan: a metric that is not defined is null."""
    return value if math.isfinite(value) else None


if __name__ == "__main__":
    run_stage(main)
