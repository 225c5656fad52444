"""Mergeable sums: merging is exact, and the histogram's median is that of the rows to a bin."""

import numpy as np
import polars as pl
import pytest

from watchline.feature_store import sums


def rows(num_rows: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    watch = np.where(rng.random(num_rows) < 0.1, 0.0, rng.lognormal(2, 1.3, num_rows)).round(3)
    return pl.DataFrame({"key": rng.integers(0, 9, num_rows), "watch_time_s": watch, "duration_s": 20.0})


def test_merged_parts_are_the_sums_of_all_rows_bit_by_bit():
    frame = rows(500, seed=1)
    parts = [sums.Added(part).by_entity(["key"], True) for part in frame.iter_slices(70)]
    whole, merged = sums.Added(frame).by_entity(["key"], True), sums.merged(parts)
    assert merged.keys.equals(whole.keys) and np.array_equal(merged.values, whole.values)
    by_row = sums.Added(frame).by_row(True)
    assert np.array_equal(by_row.sum(axis=0), whole.values.sum(axis=0))


def test_a_round_trip_through_a_frame_keeps_every_sum():
    whole = sums.Added(rows(100, seed=2)).by_entity(["key"], True)
    again = sums.Sums.from_frame(whole.to_frame())
    assert again.keys.equals(whole.keys) and np.array_equal(again.values, whole.values)
    empty = sums.Sums.from_frame(whole.to_frame().clear())
    assert empty.values.shape == (0, whole.values.shape[1])


@pytest.mark.parametrize("seed", range(5))
def test_the_median_is_within_a_bin_of_the_exact_one(seed):
    frame = rows(401, seed)
    of_bins = sums.per_exposure(sums.Added(frame).by_entity(["key"], True).values)
    ours = sums.statistics(of_bins)["watch_median"]
    exact = frame.group_by("key").agg(pl.col("watch_time_s").quantile(0.5, "lower")).sort("key")["watch_time_s"]
    for value, true in zip(ours, exact, strict=True):
        bin_of_true = np.searchsorted(sums.EDGES_S, true)
        lower, upper = sums.EDGES_S[max(bin_of_true - 1, 0)], sums.EDGES_S[min(bin_of_true, sums.NUM_BINS - 2)]
        assert lower - 1e-9 <= value <= upper + 1e-9


def test_the_median_of_nothing_is_none_and_of_skips_zero():
    empty = np.zeros((1, sums.NUM_BINS))
    skips = empty.copy()
    skips[0, 0] = 1.0
    assert np.isnan(sums.median(empty)[0])
    assert sums.median(skips)[0] == 0.0


def test_a_prior_moves_the_median_too():
    of_one = sums.Added(pl.DataFrame({"key": [1], "watch_time_s": [100.0], "duration_s": 9.0})).by_entity(["key"], True)
    prior = np.zeros((1, of_one.values.shape[1]))
    prior[0, 0] = prior[0, sums.NUM_SCALARS] = 1.0  # everybody else skips
    alone = sums.statistics(sums.per_exposure(of_one.values))["watch_median"][0]
    joined = sums.statistics(sums.per_exposure(of_one.values, prior, 3.0))["watch_median"][0]
    assert alone > 80 and joined == 0.0
