"""Splits are cut by time, count back from the end, and never overlap."""

import itertools
from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchline.data.splits import SPLITS, Window

days = st.integers(1, 9)


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), days, st.integers(0, 5), days, days)
def test_splits_tile_the_window_in_order(end, eval_days, finetune_days, valid_days, train_days):
    window = Window(
        end=end, eval_days=eval_days, finetune_days=finetune_days, valid_days=valid_days, train_days=train_days
    )
    joined = [day for split in SPLITS if split in window.ranges for day in window.split_days(split)]
    assert joined == window.days
    assert joined[-1] == end
    assert len(joined) == eval_days + finetune_days + valid_days + train_days
    assert all(later - earlier == timedelta(days=1) for earlier, later in itertools.pairwise(joined))


def test_the_excerpt_of_the_issue_trains_to_may_first():
    window = Window(end=date(2022, 5, 4), eval_days=2, finetune_days=0, valid_days=1, train_days=7)
    assert window.ranges["train"] == (date(2022, 4, 25), date(2022, 5, 1))
    assert window.split_days("valid") == [date(2022, 5, 2)]
    assert window.split_days("eval") == [date(2022, 5, 3), date(2022, 5, 4)]


def test_a_split_without_days_says_which_parameter_to_raise():
    window = Window(end=date(2022, 5, 4), eval_days=1, finetune_days=0, valid_days=1, train_days=1)
    with pytest.raises(KeyError, match=r"window\.finetune_days"):
        window.split_days("finetune")


def test_rows_are_labelled_by_their_day():
    window = Window(end=date(2022, 5, 4), eval_days=1, finetune_days=1, valid_days=1, train_days=1)
    frame = pl.DataFrame({"date": [date(2022, 4, 30) + timedelta(days=i) for i in range(6)]})
    assert frame.select(window.of_day())["literal"].to_list() == [None, "train", "valid", "finetune", "eval", None]
