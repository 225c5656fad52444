"""The order of an epoch: a permutation of any number of rows, by seed and epoch, that looks random."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchline.training.order import shuffled


@given(st.integers(1, 3000), st.integers(0, 2**31), st.integers(0, 50))
@settings(max_examples=80, deadline=None)
def test_every_row_comes_once(num_rows, seed, epoch):
    rows = shuffled(np.arange(num_rows), num_rows, seed, epoch)
    assert np.array_equal(np.sort(rows), np.arange(num_rows))


@given(st.integers(2, 3000), st.integers(1, 100))
@settings(max_examples=50, deadline=None)
def test_a_part_of_the_epoch_is_the_same_alone_as_within_the_whole(num_rows, start):
    whole = shuffled(np.arange(num_rows), num_rows, 1, 2)
    assert np.array_equal(shuffled(np.arange(num_rows)[start:], num_rows, 1, 2), whole[start:])


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [shuffled(np.arange(100), 100, *key) for key in ((1, 0), (1, 1), (2, 0))]
    assert all(not np.array_equal(a, b) for i, a in enumerate(orders) for b in orders[:i])


def test_a_position_of_a_huge_table_costs_no_list_of_its_rows():
    rows = shuffled(np.arange(10**12, 10**12 + 5), 10**13, 1, 0)
    assert len(set(rows.tolist())) == 5 and rows.max() < 10**13


def test_neighbours_in_an_epoch_are_as_unrelated_as_drawn_ones():
    """Correlation of row and position, of successive rows, and the count of every tenth of the table in a batch."""
    num_rows = 50_000
    rows = shuffled(np.arange(num_rows), num_rows, 3, 0)
    assert abs(np.corrcoef(rows, np.arange(num_rows))[0, 1]) < 4 / num_rows**0.5
    assert abs(np.corrcoef(rows[1:], rows[:-1])[0, 1]) < 4 / num_rows**0.5
    counts = np.stack([np.bincount(batch * 10 // num_rows, minlength=10) for batch in rows.reshape(-1, 500)])
    assert counts.mean() == 50
    assert 0.85 < counts.var() / (500 * 0.1 * 0.9) < 1.15


@pytest.mark.parametrize("position", [-1, 10])
def test_a_position_outside_the_epoch_is_an_error(position):
    with pytest.raises(ValueError, match="epoch of 10 rows"):
        shuffled(np.array([position]), 10, 1, 0)
