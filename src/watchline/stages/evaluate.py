"""Every model on the eval days: predictions, metrics with the statistic that fits each, slices and differences.

Run by `dvc repro evaluate`, or: python -m watchline.stages.evaluate --models models --features data/features
--out data/evaluate --report reports/evaluate
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from watchline.config import ConfigError, load_section
from watchline.data.columns import Columns
from watchline.data.splits import Window
from watchline.data.tables import read_split, write_parquet
from watchline.evaluation.measure import STATISTICS, EvaluateConfig, Evaluation, cut, detail, measure
from watchline.evaluation.page import build_page
from watchline.evaluation.sliced_rows import to_table
from watchline.metrics import pit_coverage
from watchline.models import load_model
from watchline.models.base import INTERVAL_ENDS, INTERVAL_MASS, DistributionModel, WatchTimeModel
from watchline.report import write_json
from watchline.stages import log, run_stage
from watchline.training.seeding import seed_everything

FINETUNED = "gr_finetuned"


def main(argv: list[str] | None = None) -> None:
    """Predict, measure, write predictions as Parquet, metrics.json and the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("models", "features", "out", "report"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    paths = parser.parse_args(argv)
    config = load_section(EvaluateConfig, "evaluate")
    window = load_section(Window, "window")
    seed_everything(config.seed, config.num_threads)
    names = model_names(load_section(list[str], "models"), paths.models)
    columns = Columns.read(paths.features / "schema.json")

    table = read_split(paths.features / "table", window, "eval")
    if table.is_empty():
        raise ConfigError(f"{paths.features}: no rows on the eval days; move window.end to days that have exposures")
    history = read_split(paths.features / "table", window, "train", ["user_id", "video_id"])
    models = {name: load(paths.models / name, name) for name in names}
    predictions = {name: predict(models[name], name, table, columns.label, paths.out) for name in names}
    for split in ("train", "finetune") if window.rows is None and window.finetune_days else ("train",):
        rows = read_split(paths.features / "table", window, split)
        sample = rows.gather_every(max(1, -(-len(rows) // config.train_rows)))
        for name in names:
            predict(models[name], name, sample, columns.label, paths.out / split)
    pit = {
        name: pit_coverage(*model.cumulative(table), INTERVAL_MASS)
        for name, model in models.items()
        if isinstance(model, DistributionModel)
    }
    evaluation = Evaluation(table[columns.label].to_numpy(), table["user_id"].to_numpy(), predictions, pit)

    slices = cut(table, history, columns.label, config)
    write_parquet(to_table(table["exposure_id"], slices), paths.out / "slices" / "eval.parquet")
    result, details = measure(evaluation, slices, config, window), detail(evaluation, config)
    write_json(paths.report / "metrics.json", result)
    build_page(result, details).write(paths.report / "index.html")
    for name, values in result["models"].items():
        log(summary_line(name, values))


def summary_line(name: str, values: Mapping[str, Any]) -> str:
    """A model's main metrics in a line; nan for an XAUC that is not defined."""
    xauc = math.nan if values["xauc"] is None else values["xauc"]
    return f"{name}: MAE {values['mae_s']:.3f} s, RMSE {values['rmse_s']:.3f} s, XAUC {xauc:.4f}"


def model_names(listed: Sequence[str], models_dir: Path) -> list[str]:
    """The models of `params.models` in order, and the fine-tuned one where there is one."""
    names = list(dict.fromkeys(listed))
    if (models_dir / FINETUNED / "model.json").is_file() and FINETUNED not in names:
        names.append(FINETUNED)
    if not names:
        raise ConfigError("params.yaml: models is empty; list at least one model to evaluate")
    return names


def load(model_dir: Path, name: str) -> WatchTimeModel:
    """A saved model; raises ValueError for one without the statistics that metrics are computed from."""
    model = load_model(model_dir)
    missing = [statistic for statistic in STATISTICS if statistic not in model.statistics]
    if missing:
        raise ValueError(
            f"{model_dir}: model {name!r} has no {', '.join(missing)}, which the metrics are computed from"
        )
    return model


def predict(model: WatchTimeModel, name: str, table: pl.DataFrame, label: str, out: Path) -> dict[str, np.ndarray]:
    """Statistics of one model on `table`, and the ends of its 80 % interval where it gives quantiles.

    Written as OUT/NAME.parquet. Raises ValueError for predictions that are not finite.
    """
    asked = (*STATISTICS, *INTERVAL_ENDS) if isinstance(model, DistributionModel) else STATISTICS
    values = model.predict(table, asked)
    broken = {key: int((~np.isfinite(values[key])).sum()) for key in asked if not np.isfinite(values[key]).all()}
    if broken:
        raise ValueError(
            f"model {name!r}: predictions that are not finite, of {len(table)} rows: {broken}; train it anew"
        )
    frame = table.select("exposure_id", "user_id", "date", label)
    write_parquet(frame.with_columns(pl.Series(key, values[key]) for key in asked), out / f"{name}.parquet")
    log(f"{name}: predicted {len(table):,} rows of {table['date'].min()} to {table['date'].max()}")
    return values


if __name__ == "__main__":
    run_stage(main)
