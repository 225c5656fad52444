"""GR as a model of the line: fitted from tables, saved, loaded, asked for statistics."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

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
