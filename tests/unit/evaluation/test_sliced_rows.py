"""Slices survive the way through a file, rows of no bucket included."""

import numpy as np
import polars as pl
import pytest

from watchline.data.tables import read_parquet, write_parquet
from watchline.evaluation.measure import Slices
from watchline.evaluation.sliced_rows import from_table, to_table

SLICES = [
    Slices("Video duration", np.array([2, -1, 0, 2]), ["short", "middle", "long"]),
    Slices("Cold users", np.array([0, 1, 1, 0]), ["known", "cold"], "a note"),
]


def test_buckets_and_names_come_back_from_a_file(tmp_path):
    write_parquet(to_table(pl.Series([7, 8, 9, 10]), SLICES), tmp_path / "slices.parquet")
    table = read_parquet(tmp_path / "slices.parquet")
    assert table["exposure_id"].to_list() == [7, 8, 9, 10]
    assert table["Video duration"].to_list() == ["long", None, "short", "long"]
    for back, given in zip(from_table(table), SLICES, strict=True):
        assert (back.title, back.names, back.bucket.tolist()) == (given.title, given.names, given.bucket.tolist())


def test_a_column_that_holds_no_buckets_is_named():
    with pytest.raises(ValueError, match=r"column 'watch_time_s' of the slices is Float64"):
        from_table(pl.DataFrame({"exposure_id": [1], "watch_time_s": [2.0]}))
