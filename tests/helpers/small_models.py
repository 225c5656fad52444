"""Small trained models on the generated feature table, for tests of the stages that use models."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import yaml

from tests.helpers.feature_table import COLUMNS
from watchline.data.splits import Window
from watchline.data.tables import read_days
from watchline.models.base import FitContext
from watchline.models.common import CommonConfig
from watchline.models.lightgbm import CONFIG, fit

WINDOW = Window(end=date(2024, 3, 6), eval_days=1, finetune_days=1, valid_days=1, train_days=3)


def fit_trees(features_dir: Path, model_dir: Path, num_rounds: int = 30) -> None:
    """Fit and save a LightGBM model on the training days of WINDOW."""
    train, valid = (read_days(features_dir / "table", WINDOW.split_days(split)) for split in ("train", "valid"))
    config = CONFIG(num_rounds=num_rounds, min_rows_in_leaf=10)
    context = FitContext(progress=lambda message: None)
    fit(config, CommonConfig(num_threads=1), train, valid, COLUMNS, context).model.save(model_dir)


def write_params(path: Path, **sections: object) -> None:
    """params.yaml with WINDOW and the given sections."""
    values = {"window": WINDOW.model_dump(mode="json"), **sections}
    path.write_text(yaml.safe_dump(values))
