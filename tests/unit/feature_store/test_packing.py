from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchline.feature_store.packing import Runs, pack

WIDE = st.integers(-(2**63), 2**63 - 1)
NEAR = st.integers(-3, 3)
DAYS = st.integers(0, 4).map(lambda days: date(2024, 3, 1) + timedelta(days=days))
WORDS = st.text(max_size=3)


def frames(*columns):
    rows = st.lists(st.tuples(*columns), max_size=40)
    names = [f"c{i}" for i in range(len(columns))]
    return rows.map(lambda rows: pl.DataFrame(rows, schema=schema_of(columns, names), orient="row"))


def schema_of(columns, names):
    types = {id(WIDE): pl.Int64, id(NEAR): pl.Int64, id(DAYS): pl.Date, id(WORDS): pl.String}
    return {name: types[id(column)] for name, column in zip(names, columns, strict=True)}


@pytest.mark.parametrize("columns", [(NEAR, WORDS), (DAYS, NEAR, WIDE), (WIDE, WIDE, WIDE), (WORDS, WORDS, DAYS)])
def test_numbers_are_equal_and_ordered_as_the_keys_are(columns):
    @given(frames(*columns))
    def check(keys):
        by_number = keys[np.argsort(pack(keys), kind="stable")]
        assert by_number.equals(keys.sort(keys.columns, maintain_order=True))
        assert len(np.unique(pack(keys))) == keys.n_unique()

    check()


@given(frames(NEAR, WORDS), st.integers(1, 4))
def test_runs_add_up_as_a_group_by_does(keys, least):
    values = np.arange(2 * len(keys)).reshape(-1, 2)
    runs = Runs.of(keys)
    frequent = runs.only(runs.lengths_E >= least)
    expected = (
        keys.with_columns(a=values[:, 0], b=values[:, 1])
        .group_by(keys.columns)
        .agg(pl.len(), pl.col("a", "b").sum())
        .filter(pl.col("len") >= least)
        .sort(keys.columns)
    )
    assert keys[frequent.order_N[frequent.first_E]].equals(expected.select(keys.columns))
    np.testing.assert_array_equal(frequent.sum(values), expected.select("a", "b").to_numpy())
    np.testing.assert_array_equal(frequent.lengths_E, expected["len"].to_numpy())


def test_many_keys_too_wide_for_one_number_stay_apart():
    rng = np.random.default_rng(1)
    keys = pl.DataFrame(rng.integers(-(2**62), 2**62, (5_000, 3)), schema=["a", "b", "c"])
    keys = pl.concat([keys, keys])
    codes = pack(keys)
    assert len(np.unique(codes)) == 5_000
    np.testing.assert_array_equal(codes[:5_000], codes[5_000:])
