"""GR as a model of the line: fitted from tables, saved, loaded, asked for statistics."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest
import torch

from tests.helpers.feature_table import COLUMNS, day_rows
from watchline.codec import VocabularyConfig
from watchline.data.encoding import TableEncoderConfig
from watchline.metrics import mae, xauc
from watchline.models import gr, load_model
from watchline.models.base import FitContext
from watchline.models.common import CommonConfig
from watchline.models.encoder import EncoderConfig
from watchline.training.seeding import seed_everything

COMMON = CommonConfig(
    num_threads=1,
    device="cpu",
    columns=TableEncoderConfig(min_count=3),
    encoder=EncoderConfig(embedding_width=4, hidden_width=32, id_cardinality=20),
)
CONFIG = gr.CONFIG(width=16, num_heads=2, ffn_width=32, epochs=6, batch_size=64, lr=0.01)
TRAIN = pl.concat([day_rows(date(2024, 3, day), 400, 40, 60, 0) for day in (1, 2, 3)])
VALID = day_rows(date(2024, 3, 4), 400, 40, 60, 0)
LABEL = VALID["watch_time_s"].to_numpy()
ASKED = ("median", "mean", "expected_rank", "quantile:0.1", "quantile:0.9", "window", "argmax", "mean_log")


@pytest.fixture(scope="module")
def fitted():
    seed_everything(1, 1)
    return gr.fit(CONFIG, COMMON, TRAIN, VALID, COLUMNS, FitContext(progress=lambda line: None))


def test_it_learns_the_order_and_the_size_of_watch_times(fitted):
    predicted = fitted.model.predict(VALID, ASKED)
    assert mae(LABEL, predicted["median"]) < 0.8 * mae(LABEL, np.full(len(LABEL), TRAIN["watch_time_s"].median()))
    assert xauc(LABEL, predicted["expected_rank"]) > 0.7


def test_quantiles_do_not_cross(fitted):
    predicted = fitted.model.predict(VALID, ASKED)
    assert (predicted["quantile:0.1"] <= predicted["median"]).all()
    assert (predicted["median"] <= predicted["quantile:0.9"]).all()


def test_a_saved_model_predicts_the_same(fitted, tmp_path):
    fitted.model.save(tmp_path)
    before, after = (model.predict(VALID, ASKED) for model in (fitted.model, load_model(tmp_path)))
    assert list(before) == list(ASKED)
    assert all(np.array_equal(before[name], after[name]) for name in ASKED)
    assert all(values.dtype == np.float64 and np.isfinite(values).all() for values in after.values())


def test_saving_a_loaded_model_gives_the_same_files(fitted, tmp_path):
    fitted.model.save(tmp_path / "a")
    load_model(tmp_path / "a").save(tmp_path / "b")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["config.json", "encoder.json", "encoder.safetensors", "model.json", "network.safetensors"]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)


def test_columns_in_another_order_and_without_label_predict_the_same(fitted):
    shuffled = VALID.select(reversed(VALID.columns)).drop("watch_time_s")
    expected = fitted.model.predict(VALID, ["median"])["median"]
    assert np.array_equal(fitted.model.predict(shuffled, ["median"])["median"], expected)


def test_an_empty_table_has_empty_predictions(fitted):
    assert fitted.model.predict(VALID.clear(), ["median"])["median"].shape == (0,)


def test_the_model_keeps_network_settings_and_not_the_loops(fitted):
    assert isinstance(fitted.model.config, gr.GRConfig)
    assert not hasattr(fitted.model.config, "epochs")
    assert fitted.facts["vocabulary"]["tokens"] == fitted.model.vocabulary.num_values


@pytest.mark.parametrize("name", ["mode", "quantile:2", "quantile:x"])
def test_an_unknown_statistic_is_named(fitted, name):
    with pytest.raises(KeyError, match=name):
        fitted.model.predict(VALID, [name])


@pytest.mark.parametrize("name", ["config.json", "network.safetensors", "encoder.json"])
def test_a_damaged_model_folder_is_named(fitted, tmp_path, name):
    fitted.model.save(tmp_path)
    (tmp_path / name).write_text("{")
    with pytest.raises(ValueError, match=str(tmp_path)):
        load_model(tmp_path)


def test_another_vocabulary_is_a_setting(tmp_path):
    config = CONFIG.model_copy(update={"vocabulary": VocabularyConfig(kind="binary"), "epochs": 1})
    model = gr.fit(config, COMMON, TRAIN, VALID, COLUMNS, FitContext(progress=lambda line: None)).model
    assert model.vocabulary.values[:4] == (1, 2, 4, 8)


RATIO = CONFIG.model_copy(
    update={"label_per": "duration_s", "vocabulary": VocabularyConfig(unit_s=0.01, cap_s=30), "mean_tolerance_s": 0.001}
)


@pytest.fixture(scope="module")
def of_ratio():
    """Trained on the watch ratio, with durations that are unknown or 0 in some rows."""
    seed_everything(1, 1)
    train = TRAIN.with_columns(pl.when(pl.col("hour") > 2).then(pl.col("duration_s")))
    return gr.fit(RATIO, COMMON, train, VALID, COLUMNS, FitContext(progress=lambda line: None))


def test_a_model_of_the_watch_ratio_predicts_watch_times(of_ratio):
    predicted = of_ratio.model.predict(VALID, ASKED)
    ratio = LABEL / VALID["duration_s"].to_numpy()
    assert mae(LABEL, predicted["median"]) < 0.8 * mae(LABEL, np.full(len(LABEL), TRAIN["watch_time_s"].median()))
    assert xauc(LABEL, predicted["expected_rank"]) > 0.7
    assert of_ratio.facts["vocabulary"]["unit_s"] == 0.01
    assert np.allclose(of_ratio.model.encoder.labels(VALID), ratio)
    assert min(row["valid_mae_s"] for row in of_ratio.curves) == pytest.approx(mae(LABEL, predicted["median"]))


def test_statistics_of_the_ratio_agree_with_its_quantiles(of_ratio):
    levels = [(i + 0.5) / 500 for i in range(500)]
    quantiles = of_ratio.model.predict(VALID[:50], [f"quantile:{level}" for level in levels])
    drawn = np.stack(list(quantiles.values()))
    found = of_ratio.model.predict(VALID[:50], ["mean", "mean_log", "expected_rank"])
    assert np.allclose(found["mean"], drawn.mean(axis=0), rtol=0.02)
    assert np.allclose(found["mean_log"], np.log1p(drawn).mean(axis=0), atol=0.03)
    assert np.allclose(found["expected_rank"], of_ratio.model.ranks(drawn).mean(axis=0), atol=0.01)


def test_a_row_without_denominator_is_predicted_with_the_median_one(of_ratio):
    unknown = VALID.with_columns(duration_s=pl.Series([None, 0.0] * (len(VALID) // 2)))
    predicted = of_ratio.model.predict(unknown, ["median"])["median"]
    assert np.isfinite(predicted).all() and (predicted >= 0).all()
    per = of_ratio.model.encoder.denominators(unknown)
    known = TRAIN.filter(pl.col("hour") > 2)["duration_s"].median()
    assert per.tolist() == [known] * len(VALID)


def test_a_saved_model_of_the_ratio_predicts_the_same(of_ratio, tmp_path):
    of_ratio.model.save(tmp_path)
    before, after = (model.predict(VALID, ASKED) for model in (of_ratio.model, load_model(tmp_path)))
    assert all(np.array_equal(before[name], after[name]) for name in ASKED)


def test_a_denominator_that_is_never_above_zero_is_an_error():
    train = TRAIN.with_columns(duration_s=pl.lit(0.0))
    with pytest.raises(ValueError, match="duration_s above 0"):
        gr.fit(RATIO, COMMON, train, VALID, COLUMNS, FitContext(progress=lambda line: None))


def test_an_amount_spent_is_a_label_like_any_other():
    """LTV-like: most users pay nothing, a few pay thousands; the label is whatever column the schema names."""

    def spend(table: pl.DataFrame, seed: int) -> pl.DataFrame:
        rng = np.random.default_rng(seed)
        worth = table["duration_s"].to_numpy() ** 2 * np.exp(rng.normal(0, 0.7, len(table)))
        pays = rng.random(len(table)) < np.array([0.2, 0.4, 0.7])[table["surface"].to_numpy()]
        return table.with_columns(spend=np.where(pays, np.round(worth, 2), 0.0)).drop("watch_time_s")

    columns = replace(COLUMNS, label="spend")
    vocabulary = VocabularyConfig(unit_s=0.01, cap_s=100_000)
    config = CONFIG.model_copy(update={"vocabulary": vocabulary, "mean_tolerance_s": 0.05, "stop_on": "valid_loss"})
    train, valid = spend(TRAIN, 0), spend(VALID, 1)
    label = valid["spend"].to_numpy()
    model = gr.fit(config, COMMON, train, valid, columns, FitContext(progress=lambda line: None)).model
    predicted = model.predict(valid.drop("spend"), ["mean", "median", "expected_rank", "quantile:0.9"])
    assert xauc(label, predicted["expected_rank"]) > 0.6
    assert mae(label, predicted["median"]) < mae(label, np.full(len(label), train["spend"].median()))
    assert 0.8 < predicted["mean"].sum() / label.sum() < 1.25
    assert 0.87 < (label <= predicted["quantile:0.9"]).mean() < 0.93


@pytest.mark.nightly
def test_bfloat16_passes_and_compiled_parts_learn_as_the_plain_ones_do(fitted):
    seed_everything(1, 1)
    config = CONFIG.model_copy(update={"precision": "bfloat16", "compile": True})
    fast = gr.fit(config, COMMON, TRAIN, VALID, COLUMNS, FitContext(progress=lambda line: None))
    best, plain = (min(row["valid_loss"] for row in fit.curves) for fit in (fast, fitted))
    assert best == pytest.approx(plain, abs=0.05)
    assert {parameter.dtype for parameter in fast.model.network.parameters()} == {torch.float32}
    assert "forward" not in vars(fast.model.network.encoder)
