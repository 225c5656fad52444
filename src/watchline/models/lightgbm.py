"""Gradient-boosted trees on the same columns: one booster of absolute error (median), one of squared error (mean).

Two point estimates, not a distribution: the expected rank falls back to the training rank of the median, which orders
rows as the median does. N rows, C columns.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import lightgbm
import numpy as np
import polars as pl
from pydantic import Field

from watchline.config import Config
from watchline.data.columns import Columns
from watchline.data.encoding import Table, TableEncoder
from watchline.models.base import Fit, FitContext, WatchTimeModel
from watchline.models.common import CommonConfig
from watchline.models.ranks import LabelRanks

_OBJECTIVES = {"median": "regression_l1", "mean": "regression"}
_METRICS = {"median": "l1", "mean": "rmse"}
_CURVES = {"median": "valid_mae_s", "mean": "valid_rmse_s"}


class LightGBMConfig(Config):
    """Trees, their shape, and what becomes of columns with many categories."""

    num_rounds: int = Field(default=1000, ge=1, description="trees per booster, at most")
    early_stopping_rounds: int = Field(default=50, ge=1, description="rounds without a better validation metric")
    learning_rate: float = Field(default=0.1, gt=0)
    num_leaves: int = Field(default=31, ge=2)
    min_rows_in_leaf: int = Field(default=300, ge=1)
    feature_fraction: float = Field(default=0.7, gt=0, le=1, description="share of the columns each tree may use")
    bagging_fraction: float = Field(default=0.8, gt=0, le=1, description="share of the rows each tree sees")
    l2: float = Field(default=1.0, ge=0, description="L2 penalty on leaf values")
    max_categories: int = Field(default=64, ge=1, description="a column with more codes is an id")
    ids: Literal["categorical", "ordered", "dropped"] = Field(
        default="dropped", description="ids as categories, as numbers in code order, or left to their statistics"
    )


class LightGBMModel(WatchTimeModel):
    """A booster per statistic on one coding of the columns; final."""

    name: ClassVar[str] = "lightgbm"

    def __init__(
        self,
        encoder: TableEncoder,
        config: LightGBMConfig,
        boosters: dict[str, lightgbm.Booster],
        ranks: LabelRanks,
    ) -> None:
        self.encoder, self.config, self.boosters = encoder, config, boosters
        self.ranks = ranks

    @property
    def statistics(self) -> tuple[str, ...]:
        """The median, the mean, and the training rank of the median under the name `expected_rank`."""
        return ("median", "mean", "expected_rank")

    def predict(self, table: pl.DataFrame, statistics: Sequence[str]) -> dict[str, np.ndarray]:
        """One float64 array (N,) per statistic; raises KeyError for one there is not."""
        self.check(statistics)
        matrix = design_matrix(self.encoder, self.config, table)
        needed = {"median" if name == "expected_rank" else name for name in statistics}
        values = {name: self._point(name, matrix) for name in sorted(needed)}
        if "expected_rank" in statistics:
            values["expected_rank"] = self.ranks(values["median"])
        return {name: values[name] for name in statistics}

    def _point(self, name: str, matrix_NC: np.ndarray) -> np.ndarray:
        if len(matrix_NC) == 0:
            return np.zeros(0)
        return np.maximum(np.asarray(self.boosters[name].predict(matrix_NC), dtype=np.float64), 0.0)

    def save(self, directory: Path) -> None:
        """Write model.json, config.json, the encoder, the ranks and a LightGBM text file per statistic."""
        directory.mkdir(parents=True, exist_ok=True)
        self.encoder.save(directory)
        self.ranks.save(directory)
        for name, booster in self.boosters.items():
            booster.save_model(directory / f"{name}.txt")
        (directory / "config.json").write_text(self.config.model_dump_json(indent=1) + "\n")
        (directory / "model.json").write_text(json.dumps({"model": self.name}) + "\n")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote; raises ValueError naming the folder when a file is missing or broken."""
        try:
            config = LightGBMConfig.model_validate_json((directory / "config.json").read_text())
            boosters = {name: lightgbm.Booster(model_file=directory / f"{name}.txt") for name in _OBJECTIVES}
        except (OSError, lightgbm.basic.LightGBMError) as error:
            raise ValueError(f"{directory}: not a saved lightgbm model ({error}); run `dvc checkout`") from error
        return cls(TableEncoder.load(directory), config, boosters, LabelRanks.load(directory))


def is_id(encoder: TableEncoder, config: LightGBMConfig) -> np.ndarray:
    """Which categorical columns (F,) have too many codes to be categories."""
    return np.array(encoder.cardinalities) > config.max_categories


def design_matrix(encoder: TableEncoder, config: LightGBMConfig, table: pl.DataFrame) -> np.ndarray:
    """Category codes, then unscaled numbers with NaN for null: (N, C) float64."""
    codes = encoder.codes(table)
    if config.ids == "dropped":
        codes = codes[:, ~is_id(encoder, config)]
    return np.concatenate([codes, encoder.numbers(table)], axis=1)


def category_positions(encoder: TableEncoder, config: LightGBMConfig) -> list[int]:
    """Positions in the design matrix of the columns that LightGBM splits as sets."""
    ids = is_id(encoder, config)
    if config.ids == "dropped":
        return list(range(int((~ids).sum())))
    return [i for i in range(len(ids)) if config.ids == "categorical" or not ids[i]]


def column_names(encoder: TableEncoder, config: LightGBMConfig) -> list[str]:
    """Names of the design matrix's columns."""
    keep = ~is_id(encoder, config) if config.ids == "dropped" else np.ones(len(encoder.cardinalities), bool)
    return [name for name, kept in zip(encoder.columns.categorical, keep) if kept] + list(encoder.columns.numeric)


def booster_parameters(statistic: str, config: LightGBMConfig, common: CommonConfig) -> dict[str, Any]:
    """LightGBM's own parameters for the booster of one statistic."""
    return {
        "objective": _OBJECTIVES[statistic],
        "metric": _METRICS[statistic],
        "learning_rate": config.learning_rate,
        "num_leaves": config.num_leaves,
        "min_data_in_leaf": config.min_rows_in_leaf,
        "feature_fraction": config.feature_fraction,
        "bagging_fraction": config.bagging_fraction,
        "bagging_freq": 1,
        "lambda_l2": config.l2,
        "seed": common.seed,
        "num_threads": common.num_threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def fit(
    config: LightGBMConfig,
    common: CommonConfig,
    train: Table,
    valid: Table,
    columns: Columns,
    context: FitContext,
) -> Fit:
    """Fit both boosters, each stopped early on its own validation metric; there is no resume, a fit takes seconds.

    LightGBM bins its rows in memory: unlike the networks' training, this needs room for both tables. Raises ValueError
    where the trees' share of the rows is less than one row.
    """
    train, valid = train.lazy().collect(), valid.lazy().collect()
    if len(train) * config.bagging_fraction < 1:
        raise ValueError(
            f"lightgbm: of {len(train)} training rows no tree would see one (bagging_fraction "
            f"{config.bagging_fraction:g}); widen window.train_days, or set train.lightgbm.bagging_fraction to 1"
        )
    encoder = TableEncoder.fit(train, columns, common.columns)
    label, valid_label = train[columns.label].to_numpy(), valid[columns.label].to_numpy()
    data = lightgbm.Dataset(
        design_matrix(encoder, config, train),
        label,
        feature_name=column_names(encoder, config),
        categorical_feature=category_positions(encoder, config),
        params={"verbosity": -1},
        free_raw_data=False,
    )
    boosters, histories = {}, {}
    for statistic in _OBJECTIVES:
        held_out = data.create_valid(design_matrix(encoder, config, valid), valid_label)
        boosters[statistic], histories[statistic] = _fit_booster(statistic, config, common, data, held_out)
        context.progress(
            f"lightgbm {statistic}: {boosters[statistic].num_trees()} trees, "
            f"{_CURVES[statistic]} {min(histories[statistic]):.3f}"
        )
    facts = {
        "best_step": boosters["median"].num_trees(),
        "parameters": sum(_num_leaves(booster) for booster in boosters.values()),
        **{f"trees_{name}": booster.num_trees() for name, booster in boosters.items()},
    }
    return Fit(LightGBMModel(encoder, config, boosters, LabelRanks.fit(label)), _curves(histories), facts)


def _fit_booster(
    statistic: str, config: LightGBMConfig, common: CommonConfig, data: lightgbm.Dataset, valid: lightgbm.Dataset
) -> tuple[lightgbm.Booster, list[float]]:
    history: dict[str, dict[str, list[float]]] = {}
    booster = lightgbm.train(
        booster_parameters(statistic, config, common),
        data,
        num_boost_round=config.num_rounds,
        valid_sets=[valid],
        valid_names=["valid"],
        callbacks=[
            lightgbm.early_stopping(config.early_stopping_rounds, verbose=False),
            lightgbm.record_evaluation(history),
        ],
    )
    # The text keeps the best trees alone, so that the saved model is the one that was measured.
    best = lightgbm.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration))
    return best, history["valid"][_METRICS[statistic]]


def _num_leaves(booster: lightgbm.Booster) -> int:
    lines = booster.model_to_string().splitlines()
    return sum(int(line.removeprefix("num_leaves=")) for line in lines if line.startswith("num_leaves="))


def _curves(histories: dict[str, list[float]]) -> list[dict[str, float]]:
    rows = []
    for i in range(max(len(history) for history in histories.values())):
        row = {"step": float(i + 1)}
        row |= {_CURVES[name]: float(histories[name][i]) for name in ("mean", "median") if i < len(histories[name])}
        rows.append(row)
    return rows


CONFIG = LightGBMConfig
MODEL = LightGBMModel
