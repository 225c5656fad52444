"""Evenly spaced rows: as many as asked for, from the first to the last."""

import polars as pl
import pytest

from watchline.data.spacing import evenly_spaced


@pytest.mark.parametrize(("num_rows", "max_rows"), [(1003, 100), (999, 500), (501, 500), (10, 9), (2, 2)])
def test_the_sample_is_even_keeps_both_ends_and_never_exceeds_its_maximum(num_rows, max_rows):
    rows = evenly_spaced(pl.DataFrame({"i": range(num_rows)}), max_rows)["i"]
    step = num_rows / max_rows
    assert len(rows) == max_rows and rows[0] == 0 and rows[-1] == num_rows - 1
    assert rows.diff().drop_nulls().is_between(int(step), int(step) + 1).all()


def test_no_rows_can_be_asked_for():
    assert evenly_spaced(pl.DataFrame({"i": [1, 2]}), 0).to_dict(as_series=False) == {"i": []}
