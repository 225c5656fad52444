"""Partitioned tables: what is missing or cut short is named."""

from datetime import date

import polars as pl
import pytest

from watchline.data.tables import TableError, day_path, days_on_disk, read_days, read_parquet, write_parquet

DAY, NEXT = date(2024, 3, 1), date(2024, 3, 2)


def test_days_read_back_in_the_order_asked_for(tmp_path):
    for day, value in ((DAY, 1), (NEXT, 2)):
        write_parquet(pl.DataFrame({"x": [value]}), day_path(tmp_path, day))
    assert days_on_disk(tmp_path) == [DAY, NEXT]
    assert read_days(tmp_path, [NEXT, DAY])["x"].to_list() == [2, 1]


def test_a_day_without_a_file_is_named(tmp_path):
    write_parquet(pl.DataFrame({"x": [1]}), day_path(tmp_path, DAY))
    with pytest.raises(TableError, match="2024-03-02"):
        read_days(tmp_path, [DAY, NEXT])


def test_a_file_cut_short_is_named_with_the_way_back(tmp_path):
    path = tmp_path / "users.parquet"
    write_parquet(pl.DataFrame({"x": range(1000)}), path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(TableError, match=r"users\.parquet.*dvc checkout"):
        read_parquet(path)


def test_writing_leaves_no_temporary_file(tmp_path):
    write_parquet(pl.DataFrame({"x": [1]}), tmp_path / "a.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
