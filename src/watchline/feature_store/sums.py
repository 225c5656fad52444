"""Mergeable sums of exposures: what an entity's statistics are made of, and the statistics.

Every sum is an integer (milliseconds, millionths, counts), so sums of days can be added in any order, or taken away
again, and give the same bits as one sum over all rows. The median is read off a histogram of fixed, log-spaced bins of
watch time: an exact median cannot be merged. Arrays are (E, C): E entities, C sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from watchline.feature_store.packing import Runs

# Long plays are cut before they are averaged: one day-long play would move an entity's mean for a week.
CAP_S = 600.0
CAP_RATIO = 5.0

_MILLION = 1_000_000

# Column of the sums -> what one exposure adds to it.
_WATCH = pl.col("watch_time_s")
_RATIO = pl.when(pl.col("duration_s") > 0).then((_WATCH / pl.col("duration_s")).clip(upper_bound=CAP_RATIO))
_ADDS: dict[str, pl.Expr] = {
    "exposures": pl.lit(1),
    "watch_ms": (_WATCH.clip(upper_bound=CAP_S) * 1000).round(),
    "log_millionths": (_WATCH.log1p() * _MILLION).round(),
    "ratio_millionths": (_RATIO * _MILLION).round().fill_null(0),
    "skips": _WATCH == 0,
    "completions": (pl.col("duration_s") <= _WATCH).fill_null(False),
}
NUM_SCALARS = len(_ADDS)
# A bin of its own for skips, one up to a second, then 23 % wider each up to the cap, and one for what is longer.
EDGES_S = np.concatenate([[0.0], np.geomspace(1.0, CAP_S, 32)])
NUM_BINS = len(EDGES_S) + 1

# What is said of an entity's exposures; the median fits MAE, the mean of log(1 + s) fits ranking.
STATISTICS = ("watch_mean", "watch_median", "log_mean", "ratio_mean", "skip_rate", "completion_rate")
_SCALE = {  # statistic -> its sum and the sum's units in one unit of the statistic
    "watch_mean": (1, 1000),
    "log_mean": (2, _MILLION),
    "ratio_mean": (3, _MILLION),
    "skip_rate": (4, 1),
    "completion_rate": (5, 1),
}


@dataclass(frozen=True)
class Sums:
    """Sums (E, C) of the entities in the rows of `keys`, each entity once, sorted by key."""

    keys: pl.DataFrame
    values: np.ndarray

    def to_frame(self) -> pl.DataFrame:
        """Keys and one list column of all sums, for Parquet."""
        dtype = pl.Array(pl.Int64, self.values.shape[1])
        return self.keys.with_columns(pl.Series("sums", self.values, dtype=dtype))

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> Sums:
        """What `to_frame` made, its rows filtered or not."""
        return cls(frame.drop("sums"), frame["sums"].to_numpy())


def width(binned: bool) -> int:
    """C: how many sums there are with or without the histogram."""
    return NUM_SCALARS + NUM_BINS * binned


class Added:
    """What each of N exposures adds, computed once for all groups; needs `watch_time_s` and `duration_s`."""

    def __init__(self, rows: pl.DataFrame) -> None:
        self.rows = rows
        scalars = rows.select(expression.cast(pl.Int64).alias(name) for name, expression in _ADDS.items())
        self.scalars_NC = scalars.to_numpy(order="c")
        self.bin_N = np.searchsorted(EDGES_S, rows["watch_time_s"].to_numpy(), side="left")

    def by_row(self, binned: bool) -> np.ndarray:
        """Exposure by exposure, (N, C) int64."""
        values = np.zeros((len(self.rows), width(binned)), dtype=np.int64)
        values[:, :NUM_SCALARS] = self.scalars_NC
        if binned:
            values[np.arange(len(values)), NUM_SCALARS + self.bin_N] = 1
        return values

    def by_entity(self, keys: Sequence[str], binned: bool) -> Sums:
        """Sums of every entity's exposures; rows without a key count for nobody."""
        keyed = self.rows.select(pl.int_range(pl.len()).alias("__row"), *keys).drop_nulls()
        runs = Runs.of(keyed.select(keys), keyed["__row"].to_numpy())
        values = np.zeros((len(runs.first_E), width(binned)), dtype=np.int64)
        values[:, :NUM_SCALARS] = runs.sum(self.scalars_NC)
        if binned:
            cells = np.repeat(np.arange(len(values)) * NUM_BINS, runs.lengths_E) + self.bin_N[runs.order_N]
            values[:, NUM_SCALARS:] = np.bincount(cells, minlength=len(values) * NUM_BINS).reshape(-1, NUM_BINS)
        return Sums(self.rows.select(keys)[runs.order_N[runs.first_E]], values)


def union_of_keys(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Every entity of the parts once, sorted by key."""
    keys = pl.concat(parts)
    return keys.unique().sort(keys.columns)


def positions(of: pl.DataFrame, among: pl.DataFrame) -> np.ndarray:
    """Row in `among` (each entity once) of every entity `of`, -1 for one that is not there."""
    columns = among.columns
    found = of.select(columns).join(among.with_row_index("__row"), on=columns, how="left", maintain_order="left")
    return found["__row"].cast(pl.Int64).fill_null(-1).to_numpy()


def merged(parts: Sequence[Sums], min_exposures: int = 1) -> Sums:
    """The sums of all parts together, of entities with at least so many exposures in them."""
    keys = pl.concat([part.keys for part in parts])
    values = np.concatenate([part.values for part in parts])
    runs = Runs.of(keys)
    if min_exposures > 1:  # before the other sums are added up: most pairs were seen once
        runs = runs.only(runs.sum(values[:, 0]) >= min_exposures)
    return Sums(keys[runs.order_N[runs.first_E]], runs.sum(values))


def per_exposure(sums_EC: np.ndarray, prior_EC: np.ndarray | None = None, strength: float = 0.0) -> np.ndarray:
    """Sums per exposure after `strength` exposures of the prior are added to each entity's own; (E, C), NaN for none.

    (sum + strength * prior) / (count + strength): the mean of few exposures moves towards the parent's, and with it
    every statistic, the median included.
    """
    sums = sums_EC if prior_EC is None else sums_EC + strength * prior_EC
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums / sums[:, :1]


def statistics(shares_EC: np.ndarray) -> dict[str, np.ndarray]:
    """STATISTICS of sums per exposure, without the median where there is no histogram; NaN for no exposure."""
    values = {name: shares_EC[:, column] / unit for name, (column, unit) in _SCALE.items()}
    if shares_EC.shape[1] > NUM_SCALARS:
        values["watch_median"] = median(shares_EC[:, NUM_SCALARS:])
    return {name: values[name] for name in STATISTICS if name in values}


def median(shares_EB: np.ndarray) -> np.ndarray:
    """Median (E,) in seconds of histograms over the bins of EDGES_S, interpolated in its bin; NaN for an empty one."""
    upto = np.cumsum(shares_EB, axis=1)
    half = upto[:, -1:] / 2
    bin_E = np.minimum((upto < half).sum(axis=1), NUM_BINS - 1)
    rows = np.arange(len(bin_E))
    inside = shares_EB[rows, bin_E]
    upper = np.append(EDGES_S, EDGES_S[-1])[bin_E]
    lower = np.concatenate([[0.0], EDGES_S])[bin_E]
    with np.errstate(invalid="ignore", divide="ignore"):
        part = (half[:, 0] - (upto[rows, bin_E] - inside)) / inside
    return lower + (upper - lower) * part
