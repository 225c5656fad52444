"""How unusual rows are, by hand and by a planted shift."""

import numpy as np
import polars as pl
import pytest

from watchline.drift.compare import Plan
from watchline.drift.unusual import errors_by_decile, unusualness

PLAN = Plan(["x"], ["c"], [], {})


def test_surprisal_is_that_of_the_share_of_a_category_and_of_a_tail():
    train = pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "c": ["a", "a", "a", None]})
    rows = pl.DataFrame({"x": [2.0, 4.0, 9.0, None], "c": ["a", None, "b", "a"]})
    number = -np.log([2 * 0.5, 2 * 0.25, 1 / 5, 1 / 5])
    category = -np.log([0.75, 0.25, 1 / 5, 0.75])
    assert unusualness(train, rows, PLAN) == pytest.approx((number + category) / 2)


def test_a_missing_number_is_as_unusual_as_it_is_rare():
    train = pl.DataFrame({"x": [1.0, None, 3.0, None]})
    found = unusualness(train, pl.DataFrame({"x": [1.0, None]}), Plan(["x"], [], [], {}))
    assert found == pytest.approx(-np.log([2 * 0.5 * 0.5, 0.5]))


def test_rows_of_the_training_law_are_usual_and_shifted_ones_are_not():
    generator = np.random.default_rng(0)
    train, same = (pl.DataFrame({"x": generator.normal(size=5000)}) for _ in range(2))
    plan = Plan(["x"], [], [], {})
    # -log of a uniform number is exponential with mean 1.
    assert unusualness(train, same, plan).mean() == pytest.approx(1.0, abs=0.06)
    assert unusualness(train, same.with_columns(pl.col("x") + 2), plan).mean() > 2


def test_errors_that_grow_with_unusualness_are_seen_in_the_last_part():
    unusual = np.linspace(0, 1, 1000)
    label = np.tile([0.0, 10.0], 500)
    parts = errors_by_decile(unusual, label, {"flat": label + 1, "worse": label + 10 * unusual})
    flat, worse = ([part["models"][i]["relative"] for part in parts] for i in (0, 1))
    assert flat == pytest.approx([1 / 5] * 10)  # the median label, 5, is 5 s off everywhere
    assert worse == sorted(worse) and worse[-1] / worse[0] == pytest.approx(19, rel=0.01)
    assert [part["rows"] for part in parts] == [100] * 10
