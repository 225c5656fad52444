"""GR against LightGBM on real data: several seeds, the same columns, paired-bootstrap intervals by user.

    python benchmarks/quality.py --raw ../shared/data/kuairand-pure-10d

Runs ingest, validate and features on the raw log in a temporary folder (or takes --features DIR of an earlier run),
then fits both models for every seed: train to 2022-05-01, early stopping on 05-02, test on 05-03 and 05-04.
`--set` passes Hydra overrides, for example `--set features.freshness=event train.gr.width=128`. The last line of
output is one JSON object: figure -> value, target, unit, better.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(root), str(root / "src")]

import numpy as np
import polars as pl

from benchmarks import excerpt
from watchline.config import parse
from watchline.data.columns import Columns
from watchline.data.splits import Window
from watchline.data.tables import read_days
from watchline.metrics import BOOTSTRAP_METRICS, mae, paired_bootstrap, pit_coverage, rmse, xauc
from watchline.models import model_module
from watchline.models.base import STATISTIC_OF_METRIC, DistributionModel, FitContext
from watchline.models.common import CommonConfig
from watchline.training.seeding import seed_everything

METRICS = {"mae_s": mae, "rmse_s": rmse, "xauc": xauc}
# METHODS: the mean of the log is the other statistic that orders well; validation picks between them.
RANKING = ("expected_rank", "mean_log")
Predictions = dict[str, np.ndarray]


def main() -> None:
    """Build the features if need be, fit, predict, compare, print."""
    parser = excerpt.parser(__doc__, overrides=[])
    parser.add_argument("--models", nargs="+", default=["lightgbm", "gr"], help="the first is the baseline")
    arguments = parser.parse_args()
    with excerpt.prepared(arguments) as (params, features):
        report(run(params, features, arguments.models, arguments.seeds))


def run(params: dict[str, Any], features: Path, models: list[str], num_seeds: int) -> dict[str, Any]:
    """Test metrics of every model and seed, and differences of the seeds' mean predictions' errors to the baseline."""
    window = parse(Window, params["window"], "window")
    columns = Columns.read(features / "schema.json")
    train, valid, test = (
        read_days(features / "table", window.split_days(split)) for split in ("train", "valid", "eval")
    )
    results: dict[str, Any] = {"rows": {"train": len(train), "valid": len(valid), "test": len(test)}, "models": {}}
    predictions: dict[str, list[Predictions]] = {}
    for name in models:
        fits = [fit_one(name, params, seed, (train, valid, test), columns) for seed in range(1, num_seeds + 1)]
        predictions[name] = [predicted for _, predicted in fits]
        results["models"][name] = [metrics for metrics, _ in fits]
    label, user = test[columns.label].to_numpy(), test["user_id"].to_numpy()
    results["constant_mae_s"] = mae(label, np.full(len(label), np.median(label)))
    results["differences"] = {
        name: differences(label, user, predictions[name], predictions[models[0]]) for name in models[1:]
    }
    means = {name: [mean_of(predictions[name])] for name in models}
    results["differences_of_means"] = {
        name: differences(label, user, means[name], means[models[0]]) for name in models[1:]
    }
    return results


def fit_one(
    name: str, params: dict[str, Any], seed: int, tables: tuple[pl.DataFrame, ...], columns: Columns
) -> tuple[dict[str, float], Predictions]:
    """Fit one model with one seed; its test metrics and test predictions by metric."""
    train, valid, test = tables
    module = model_module(name)
    common = parse(CommonConfig, {**params["train"]["common"], "seed": seed}, "train.common")
    config = parse(module.CONFIG, params["train"][name], f"train.{name}")
    seed_everything(seed, common.num_threads)
    started = time.perf_counter()
    model = module.fit(config, common, train, valid, columns, FitContext(progress=lambda line: None)).model
    seconds = time.perf_counter() - started
    label = test[columns.label].to_numpy()
    statistics = {**STATISTIC_OF_METRIC, "xauc": best_ranking(model, valid, columns.label)}
    predicted = model.predict(test, tuple(dict.fromkeys(statistics.values())))
    predictions = {metric: predicted[statistic] for metric, statistic in statistics.items()}
    metrics = {metric: METRICS[metric](label, values) for metric, values in predictions.items()}
    if isinstance(model, DistributionModel):
        metrics["valid_coverage_80"] = pit_coverage(*model.cumulative(valid), 0.8)
        metrics["test_coverage_80"] = pit_coverage(*model.cumulative(test), 0.8)
    print(
        name, f"seed {seed}", json.dumps({k: round(v, 4) for k, v in metrics.items()}), f"{seconds:.0f} s", flush=True
    )
    return metrics, predictions


def mean_of(seeds: list[Predictions]) -> Predictions:
    """Mean prediction of the seeds: what each method gains from averaging several of its models."""
    return {metric: np.mean([seed[metric] for seed in seeds], axis=0) for metric in METRICS}


def best_ranking(model: Any, valid: pl.DataFrame, label: str) -> str:
    """The statistic of the model that orders the validation rows best."""
    names = [name for name in RANKING if name in model.statistics]
    predicted, truth = model.predict(valid, names), valid[label].to_numpy()
    return max(names, key=lambda name: xauc(truth, predicted[name]))


def differences(
    label: np.ndarray, user: np.ndarray, ours: list[Predictions], theirs: list[Predictions]
) -> dict[str, Any]:
    """Per metric the mean over seeds of the paired difference, and of the ends of its 95 % bootstrap interval."""
    result = {}
    for metric in METRICS:
        assert metric in BOOTSTRAP_METRICS
        parts = [paired_bootstrap(metric, label, a[metric], b[metric], user, seed=0) for a, b in zip(ours, theirs)]
        result[metric] = {
            key: float(np.mean([getattr(part, key) for part in parts])) for key in ("value", "low", "high")
        }
    return result


def report(results: dict[str, Any]) -> None:
    """Print a table, then the figures as one line of JSON."""
    print(f"rows {results['rows']}, best constant MAE {results['constant_mae_s']:.3f} s")
    for name, seeds in results["models"].items():
        for metric in seeds[0]:
            values = [seed[metric] for seed in seeds]
            print(f"{name:10} {metric:17} mean {np.mean(values):.4f}  from {min(values):.4f} to {max(values):.4f}")
    figures = {}
    for key, what in (("differences_of_means", "means of seeds"), ("differences", "seed by seed")):
        for name, by_metric in results[key].items():
            for metric, part in by_metric.items():
                interval = f"[{part['low']:+.4f}, {part['high']:+.4f}]"
                print(f"{name} - baseline, {what}, {metric}: {part['value']:+.4f} {interval}")
    for name, by_metric in results["differences"].items():
        difference = by_metric["mae_s"]["value"], by_metric["xauc"]["value"]
        figures[f"{name}_mae_difference"] = figure(difference[0], -0.05, "s", "lower")
        figures[f"{name}_xauc_difference"] = figure(difference[1], 0.004, "share", "higher")
        off = [abs(seed["valid_coverage_80"] - 0.8) for seed in results["models"][name] if "valid_coverage_80" in seed]
        if off:
            figures[f"{name}_valid_coverage_off_80"] = figure(max(off), 0.02, "share", "lower")
    print(json.dumps(figures))


def figure(value: float, target: float, unit: str, better: str) -> dict[str, Any]:
    """One entry of the closing JSON."""
    return {"value": round(value, 5), "target": target, "unit": unit, "better": better}


if __name__ == "__main__":
    main()
