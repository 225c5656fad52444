"""What the line trained, as the arms' policies and as the models of a sweep, read from its folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl

from watchline.config import ConfigError
from watchline.data.columns import Columns
from watchline.data.splits import Window
from watchline.data.tables import read_parquet, read_split
from watchline.experiment.config import AbtestConfig
from watchline.experiment.group_model import POINTS
from watchline.experiment.policies import LONG_VIEW, LONG_VIEW_LABEL, Policy, statistics_of
from watchline.experiment.remembering import RememberingModel
from watchline.experiment.sweep import Sweep, plan_sweep
from watchline.models import load_model


def load_arm(config: AbtestConfig, arm: str, models_dir: Path, label: str) -> Policy:
    """The policy of an arm, its model one of `label`; raises ConfigError naming the parameter when it cannot be had."""
    parameter, asked_for = config.arms[arm]
    name, statistic = asked_for.model, asked_for.statistic
    if not (models_dir / name / "model.json").is_file():
        there = sorted(path.parent.name for path in models_dir.glob("*/model.json"))
        raise ConfigError(
            f"abtest.{parameter}: {models_dir / name} is not a trained model; add {name!r} to `models`, or set "
            f"abtest.{parameter} to one of: {', '.join(there) or 'none there yet'}"
        )
    model = load_model(models_dir / name)
    if statistic not in statistics_of(model, label):
        known = ", ".join(statistics_of(model, label))
        if statistic == LONG_VIEW and label != LONG_VIEW_LABEL:
            known += f" (a long view is of {LONG_VIEW_LABEL}, and features.label is {label})"
        parameter = parameter.replace(".model", ".statistic") if "." in parameter else f"{parameter}_statistic"
        raise ConfigError(f"abtest.{parameter}: model {name!r} cannot predict {statistic!r}; it knows {known}")
    return Policy(name, model, statistic, asked_for.epsilon, asked_for.temperature)


def make_sweep(
    config: AbtestConfig, models_dir: Path, predictions_dir: Path, table_dir: Path, window: Window, columns: Columns
) -> Sweep:
    """Every model that evaluate predicted with, and the damaged ones of the control; none for no runs.

    Raises ConfigError when the control is not among them.
    """
    if not config.sweep_runs:
        return Sweep({}, config.control)
    names = sorted(path.stem for path in predictions_dir.glob("*.parquet"))
    if config.control not in names:
        raise ConfigError(
            f"abtest.control: {predictions_dir} has no predictions of {config.control!r}; add it to `models`, or set "
            f"abtest.control to one of: {', '.join(names) or 'none there yet'}"
        )
    trained = {name: RememberingModel(load_model(models_dir / name)) for name in names}
    there = ["video_id", "surface", columns.label, *["duration_s"] * ("duration_s" in columns.numeric)]
    train = read_split(table_dir, window, "train", there)
    return plan_sweep(trained, config.control, config.control_statistic, train, columns.label)


def with_memory(policy: Policy, sweep: Sweep) -> Policy:
    """The arm's policy on the model that the sweep has too, which is asked once for both."""
    entry = sweep.entries.get(policy.name)
    return replace(policy, model=entry.policy.model) if entry and policy.statistic in POINTS else policy


def remember_predictions(sweep: Sweep, predictions_dir: Path, table: pl.DataFrame) -> None:
    """Give each trained model what evaluate predicted for the rows of `table`; raises ValueError naming a file without.

    The models damaged from it take them from there.
    """
    for name, entry in sweep.entries.items():
        model = entry.policy.model
        if not isinstance(model, RememberingModel):
            continue
        path = predictions_dir / f"{name}.parquet"
        predicted = read_parquet(path, ["exposure_id", *POINTS])
        found = table.select("exposure_id").join(predicted, on="exposure_id", how="left", maintain_order="left")
        if missing := found["mean"].null_count():
            raise ValueError(f"{path}: no prediction for {missing} of {len(table)} eval rows; `dvc repro evaluate`")
        model.remember(table, {point: found[point].to_numpy() for point in POINTS})
