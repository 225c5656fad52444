"""LightGBM: two statistics on the common columns, repeatable, round-tripped, blind to later rows."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from tests.helpers.feature_table import COLUMNS, day_rows
from watchline.data.encoding import TableEncoder, TableEncoderConfig
from watchline.metrics import mae, rmse
from watchline.models import lightgbm, load_model
from watchline.models.base import FitContext
from watchline.models.common import CommonConfig

STATISTICS = ("median", "mean", "expected_rank")
COMMON = CommonConfig(num_threads=1)
CONFIG = lightgbm.LightGBMConfig(num_rounds=300, early_stopping_rounds=30, min_rows_in_leaf=20)
TRAIN = pl.concat([day_rows(date(2024, 3, day), 600, 40, 60, 0) for day in (1, 2, 3)])
VALID = day_rows(date(2024, 3, 4), 600, 40, 60, 0)
LABEL = VALID["watch_time_s"].to_numpy()


def fit(config=CONFIG, train=TRAIN):
    return lightgbm.fit(config, COMMON, train, VALID, COLUMNS, FitContext(progress=lambda line: None))


@pytest.fixture(scope="module")
def fitted():
    return fit()


def test_it_beats_the_best_constant(fitted):
    predicted = fitted.model.predict(VALID, STATISTICS)
    assert mae(LABEL, predicted["median"]) < 0.8 * mae(LABEL, np.full(len(LABEL), TRAIN["watch_time_s"].median()))
    assert rmse(LABEL, predicted["mean"]) < 0.8 * rmse(LABEL, np.full(len(LABEL), TRAIN["watch_time_s"].mean()))


def test_each_booster_is_better_at_its_own_metric(fitted):
    predicted = fitted.model.predict(VALID, STATISTICS)
    assert mae(LABEL, predicted["median"]) < mae(LABEL, predicted["mean"])
    assert rmse(LABEL, predicted["mean"]) < rmse(LABEL, predicted["median"])


def test_the_expected_rank_orders_rows_as_the_median_does(fitted):
    predicted = fitted.model.predict(VALID, STATISTICS)
    ranks = predicted["expected_rank"][np.argsort(predicted["median"])]
    assert (np.diff(ranks) >= 0).all()
    assert 0 <= ranks.min() <= ranks.max() <= 1


def test_a_saved_model_predicts_the_same(fitted, tmp_path):
    fitted.model.save(tmp_path)
    before, after = (model.predict(VALID, STATISTICS) for model in (fitted.model, load_model(tmp_path)))
    assert all(np.array_equal(before[name], after[name]) for name in STATISTICS)


def test_fitting_twice_gives_the_same_files(fitted, tmp_path):
    fitted.model.save(tmp_path / "a")
    fit().model.save(tmp_path / "b")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert "median.txt" in names
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)


def test_too_few_rows_for_a_trees_share_are_an_error_that_says_what_to_set():
    with pytest.raises(ValueError, match=r"of 1 training rows .* window.train_days, or set .*bagging_fraction to 1"):
        fit(train=TRAIN[:1])
    assert fit(CONFIG.model_copy(update={"bagging_fraction": 1.0}), TRAIN[:1]).model


def test_the_last_curve_rows_hold_the_measured_model(fitted):
    best = min(row["valid_mae_s"] for row in fitted.curves if "valid_mae_s" in row)
    assert best == pytest.approx(mae(LABEL, fitted.model.predict(VALID, ["median"])["median"]), rel=1e-2)
    assert [row["step"] for row in fitted.curves] == list(range(1, len(fitted.curves) + 1))


@pytest.mark.parametrize("ids", ["categorical", "ordered", "dropped"])
def test_names_and_category_positions_agree_with_the_matrix(ids):
    config = lightgbm.LightGBMConfig(ids=ids, max_categories=20)
    encoder = TableEncoder.fit(TRAIN, COLUMNS, TableEncoderConfig())
    names, matrix = lightgbm.column_names(encoder, config), lightgbm.design_matrix(encoder, config, VALID)
    assert matrix.shape == (len(VALID), len(names))
    categories = [names[i] for i in lightgbm.category_positions(encoder, config)]
    assert ("user_id" in names) == (ids != "dropped")
    assert ("user_id" in categories) == (ids == "categorical")
    assert "surface" in categories


def test_an_unknown_statistic_is_named(fitted):
    with pytest.raises(KeyError, match=r"quantile:0\.1"):
        fitted.model.predict(VALID, ["quantile:0.1"])


def test_a_damaged_model_folder_is_named(fitted, tmp_path):
    fitted.model.save(tmp_path)
    (tmp_path / "mean.txt").unlink()
    with pytest.raises(ValueError, match="not a saved lightgbm model"):
        load_model(tmp_path)
