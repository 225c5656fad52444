"""Category codes and scaled numbers: fitted on training rows, whole-array, exact after saving."""

from __future__ import annotations

from functools import partial

import numpy as np
import polars as pl
import pytest

from watchline.data import encoding as encoding_module
from watchline.data.columns import Columns
from watchline.data.encoding import UNKNOWN, NumericScaler, TableEncoder, TableEncoderConfig
from watchline.data.tables import chunks

COLUMNS = Columns("watch_time_s", ("user_id",), ("user_id", "degree", "live"), ("seconds", "age"))
CONFIG = TableEncoderConfig(min_count=2)


def table(**changes) -> pl.DataFrame:
    values = {
        "user_id": [7, 3, 7, 3, 9, None],
        "degree": ["low", "high", "low", "high", None, "rare"],
        "live": [True, False, True, False, True, None],
        "seconds": [0.0, 1.0, 2.0, 5.0, 900.0, None],
        "age": [1, 2, 3, 4, 5, 6],
        "watch_time_s": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
    }
    return pl.DataFrame({**values, **changes})


def test_codes_follow_the_order_of_values_and_rare_ones_are_unknown():
    encoded = TableEncoder.fit(table(), COLUMNS, CONFIG).transform(table())
    assert encoded.categorical_NF[:, 0].tolist() == [2, 1, 2, 1, UNKNOWN, UNKNOWN]
    assert encoded.categorical_NF[:, 1].tolist() == [2, 1, 2, 1, UNKNOWN, UNKNOWN]
    assert encoded.categorical_NF[:, 2].tolist() == [2, 1, 2, 1, 2, UNKNOWN]


def test_cardinalities_bound_every_code():
    encoder = TableEncoder.fit(table(), COLUMNS, CONFIG)
    assert encoder.cardinalities == [3, 3, 3]


@pytest.mark.parametrize(("column", "values"), [("user_id", [8] * 6), ("degree", ["new"] * 6), ("live", [None] * 6)])
def test_a_value_that_training_never_saw_is_unknown(column, values):
    encoder = TableEncoder.fit(table(), COLUMNS, CONFIG)
    position = COLUMNS.categorical.index(column)
    assert encoder.transform(table(**{column: values})).categorical_NF[:, position].tolist() == [UNKNOWN] * 6


def test_codes_equal_a_dictionary_lookup_on_random_ids():
    rng = np.random.default_rng(5)
    ids = rng.zipf(1.5, 3000) % 500
    columns = Columns("y", (), ("id",), ())
    encoder = TableEncoder.fit(pl.DataFrame({"id": ids[:2000]}), columns, TableEncoderConfig(min_count=3))
    values, counts = np.unique(ids[:2000], return_counts=True)
    lookup = {value: i + 1 for i, value in enumerate(values[counts >= 3])}
    expected = [lookup.get(value, UNKNOWN) for value in ids[2000:]]
    assert encoder.codes(pl.DataFrame({"id": ids[2000:]}))[:, 0].tolist() == expected


def test_a_null_number_is_the_middle_with_its_indicator_set():
    encoder = TableEncoder.fit(table(), COLUMNS, CONFIG)
    numeric = encoder.transform(table()).numeric_ND
    assert encoder.num_numeric == numeric.shape[1] == 3
    assert numeric[:, 1].tolist() == [0, 0, 0, 0, 0, 1]
    assert numeric[5, 0] == 0.5


def test_every_part_of_the_scale_holds_as_many_training_rows():
    values = np.exp(np.random.default_rng(1).normal(0, 3, 8000))
    scaled = NumericScaler.fit(values, 4).transform(values)[:, 0]
    assert np.histogram(scaled, bins=[0, 0.25, 0.5, 0.75, 1.0])[0] == pytest.approx([2000] * 4, abs=2)


def test_scaling_keeps_order_and_holds_values_beyond_the_training_range():
    scaler = NumericScaler.fit(np.array([0.0, 0.0, 0.0, 1.0, 5.0, 90.0]), 4)
    scaled = scaler.transform(np.array([-7.0, 0.0, 0.5, 2.0, 50.0, 90.0, 1e9]))[:, 0]
    assert (scaled[0], scaled[-2], scaled[-1]) == (0, 1, 1)
    assert (np.diff(scaled[1:-1]) > 0).all()


def test_constant_and_empty_columns_scale_to_finite_numbers():
    for values in (np.full(5, 3.0), np.full(5, np.nan)):
        assert np.isfinite(NumericScaler.fit(values, 4).transform(values)).all()


def test_an_infinite_number_counts_as_null():
    encoder = TableEncoder.fit(table(), COLUMNS, CONFIG)
    numeric = encoder.transform(table(seconds=[float("inf")] * 6)).numeric_ND
    assert numeric[:, :2].tolist() == [[0.5, 1.0]] * 6


def test_a_saved_encoder_gives_the_same_arrays(tmp_path):
    encoder = TableEncoder.fit(table(), COLUMNS, CONFIG)
    encoder.save(tmp_path)
    before, after = encoder.transform(table()), TableEncoder.load(tmp_path).transform(table())
    assert np.array_equal(before.categorical_NF, after.categorical_NF)
    assert np.array_equal(before.numeric_ND, after.numeric_ND)
    assert np.array_equal(before.label_N, after.label_N)


@pytest.mark.parametrize("portion", [1, 2, 4, 100])
def test_memory_mapped_columns_equal_those_in_memory_whatever_the_portion(tmp_path, monkeypatch, portion):
    monkeypatch.setattr(encoding_module, "chunks", partial(chunks, rows_at_a_time=portion))
    encoder = TableEncoder.fit(table(), COLUMNS, CONFIG)
    inside, mapped = encoder.transform(table()), encoder.write(table().lazy(), tmp_path)
    for name in ("categorical_NF", "numeric_ND", "label_N"):
        assert isinstance(getattr(mapped, name), np.memmap)
        assert getattr(mapped, name).dtype == getattr(inside, name).dtype
        assert np.array_equal(getattr(mapped, name), getattr(inside, name))


def test_a_table_without_categories_or_rows_is_written_and_opened(tmp_path):
    encoder = TableEncoder.fit(table(), Columns("watch_time_s", (), (), ("age",)), CONFIG)
    assert encoder.write(table(), tmp_path / "a").categorical_NF.shape == (6, 0)
    assert len(encoder.write(table().clear(), tmp_path / "b")) == 0


def test_columns_to_train_on_need_the_label(tmp_path):
    with pytest.raises(KeyError, match="watch_time_s"):
        TableEncoder.fit(table(), COLUMNS, CONFIG).write(table().drop("watch_time_s"), tmp_path)


def test_an_encoder_fitted_on_files_equals_one_fitted_on_a_frame(tmp_path):
    table().write_parquet(tmp_path / "rows.parquet")
    frame, files = table(), pl.scan_parquet(tmp_path / "rows.parquet")
    encoders = [TableEncoder.fit(rows, COLUMNS, CONFIG) for rows in (frame, files)]
    assert encoders[0].to_json() == encoders[1].to_json()
    assert encoders[0].cardinalities == encoders[1].cardinalities


def test_quantiles_of_a_long_table_come_from_rows_spread_over_all_of_it(monkeypatch):
    monkeypatch.setattr(encoding_module, "_FIT_ROWS", 100)
    rows = pl.DataFrame({"seconds": np.arange(1000.0)})
    encoder = TableEncoder.fit(rows, Columns("y", (), (), ("seconds",)), CONFIG)
    assert encoder.scalers["seconds"].knots[::8] == pytest.approx((0, 990))


def test_saved_files_depend_on_the_rows_and_not_on_their_order(tmp_path):
    for name, rows in (("a", table()), ("b", table()[::-1])):
        TableEncoder.fit(rows.with_columns(age=pl.lit(1)), COLUMNS, CONFIG).save(tmp_path / name)
    assert (tmp_path / "a/encoder.safetensors").read_bytes() == (tmp_path / "b/encoder.safetensors").read_bytes()


def test_a_table_without_label_has_none():
    encoder = TableEncoder.fit(table(), COLUMNS, CONFIG)
    assert encoder.transform(table().drop("watch_time_s")).label_N is None


def test_a_missing_feature_is_named():
    encoder = TableEncoder.fit(table(), COLUMNS, CONFIG)
    with pytest.raises(KeyError, match="age"):
        encoder.transform(table().drop("age"))


def test_a_category_of_another_type_is_named():
    encoder = TableEncoder.fit(table(), COLUMNS, CONFIG)
    with pytest.raises(ValueError, match="degree"):
        encoder.transform(table(degree=[1, 2, 3, 4, 5, 6]))


def test_no_training_rows_is_an_error():
    with pytest.raises(ValueError, match="no training rows"):
        TableEncoder.fit(table().clear(), COLUMNS, CONFIG)


def test_a_broken_encoder_file_is_named(tmp_path):
    TableEncoder.fit(table(), COLUMNS, CONFIG).save(tmp_path)
    (tmp_path / "encoder.json").write_text("{")
    with pytest.raises(ValueError, match=r"encoder\.json"):
        TableEncoder.load(tmp_path)
