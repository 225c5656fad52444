"""Offline metrics of watch-time predictions: errors, intervals, ordering of pairs, calibration, slices, bootstrap.

All functions take plain arrays of equal length, labels and predictions in seconds (an ordering metric takes any
score), and return plain floats; nan where a metric is not defined (no pair with different labels, a zero mean).
They raise ValueError on empty, unequal or non-finite arrays.
"""

# B rows, U users, K summed quantities, R bootstrap replicates

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
K = TypeVar("K", bound=Hashable)

NEAR_ZERO_S = 1.0  # labels below this are quick skips
DRAWS_AT_ONCE = 1 << 17  # draws of a user that the bootstrap holds in memory
# Users with something to measure that an interval takes. Draws of a few users all lie on one side of 0 by chance: the
# exact test, flipping the sign of each of U users, has no p below 2 ** (1 - U), and 20 suffice for any correction here
# (2e-6). Nor is a draw without any of 20 ever met (e ** -20), while that of 6 users covers 86 %, not 95 %.
LEAST_USERS = 20


def mae(label_s: ArrayLike, prediction_s: ArrayLike) -> float:
    """Mean absolute error: mean |prediction - label|, in the unit of the label; the median minimises it."""
    label, prediction = _checked(label_s, prediction_s)
    return float(np.abs(prediction - label).mean())


def rmse(label_s: ArrayLike, prediction_s: ArrayLike) -> float:
    """Root mean squared error: sqrt(mean (prediction - label)^2), in the unit of the label; the mean minimises it."""
    label, prediction = _checked(label_s, prediction_s)
    return math.sqrt(float(np.square(prediction - label).mean()))


def xauc(label_s: ArrayLike, score: ArrayLike) -> float:
    """Share of the pairs with different labels that the score orders as the labels are; a tied score counts 1/2.

    Exact, O(B log B). nan when all labels are equal. With 0/1 labels it is the area under the ROC curve.
    """
    ordered_B, different_B = pairs_by_row(label_s, score)
    return _ratio(ordered_B.sum(), different_B.sum())


def xauc_all_pairs(label_s: ArrayLike, score: ArrayLike) -> float:
    """XAUC as GR and TPM compute it: pairs with equal labels count 0 and stay in the denominator, B (B - 1) / 2.

    Exact, O(B log B). nan for fewer than two rows. Source: arXiv 2412.20211 (GR) and its public code.
    """
    ordered_B, _ = pairs_by_row(label_s, score)
    return _ratio(ordered_B.sum(), len(ordered_B) * (len(ordered_B) - 1))


def gauc(label_s: ArrayLike, score: ArrayLike, user_id: ArrayLike) -> float:
    """XAUC within each user, weighted by the user's pairs with different labels (XGAUC). Exact, O(B log B)."""
    ordered_B, different_B = pairs_by_row(label_s, score, user_id)
    return _ratio(ordered_B.sum(), different_B.sum())


def calibration(label_s: ArrayLike, prediction_s: ArrayLike) -> float:
    """Mean prediction / mean label: above 1 predicts too much. nan when all labels are 0."""
    label, prediction = _checked(label_s, prediction_s)
    return _ratio(prediction.sum(), label.sum())


def mae_near_zero(label_s: ArrayLike, prediction_s: ArrayLike) -> float:
    """MAE of the rows with labels under NEAR_ZERO_S, the quick skips; nan when there are none."""
    label, prediction = _checked(label_s, prediction_s)
    skips = label < NEAR_ZERO_S
    return mae(label[skips], prediction[skips]) if skips.any() else math.nan


def bias_near_zero(label_s: ArrayLike, prediction_s: ArrayLike) -> float:
    """Mean of prediction - label over the rows with labels under NEAR_ZERO_S; nan when there are none."""
    label, prediction = _checked(label_s, prediction_s)
    skips = label < NEAR_ZERO_S
    return float((prediction - label)[skips].mean()) if skips.any() else math.nan


def calibration_by_decile(label_s: ArrayLike, prediction_s: ArrayLike, num_bins: int = 10) -> list[dict[str, float]]:
    """Rows cut by rising prediction into `num_bins` parts of equal size: mean prediction, mean label, rows of each."""
    label, prediction = _checked(label_s, prediction_s)
    order = np.argsort(prediction, kind="stable")
    parts = [part for part in np.array_split(order, num_bins) if len(part)]
    return [
        {
            "bin": number,
            "rows": len(part),
            "mean_prediction_s": float(prediction[part].mean()),
            "mean_label_s": float(label[part].mean()),
        }
        for number, part in enumerate(parts, start=1)
    ]


# -- prediction intervals ---------------------------------------------------------------------------------------------

_SLACK = 1e-9  # relative: an interval holds its ends, though they be sums of rounded units


def interval_coverage(label_s: ArrayLike, low_s: ArrayLike, high_s: ArrayLike) -> float:
    """Share of the labels with low <= label <= high.

    Of a calibrated central interval of mass c it is c for continuous labels, and more where labels have atoms (zeros,
    whole units), as an interval holds an atom wholly or not at all: see `pit_coverage`. Raises ValueError where low
    exceeds high.
    """
    return float((_side_of_interval(label_s, low_s, high_s) == 0).mean())


def interval_width(low_s: ArrayLike, high_s: ArrayLike) -> float:
    """Mean of high - low, in the unit of the label; less is sharper, among intervals that cover alike."""
    low, high = _checked(low_s, high_s)
    return float((high - low).mean())


def interval_metrics(label_s: ArrayLike, low_s: ArrayLike, high_s: ArrayLike) -> dict[str, float]:
    """`coverage`, `width_s`, and the shares of labels `below` and `above` the interval."""
    side_B = _side_of_interval(label_s, low_s, high_s)
    return {
        "coverage": interval_coverage(label_s, low_s, high_s),
        "width_s": interval_width(low_s, high_s),
        "below": float((side_B < 0).mean()),
        "above": float((side_B > 0).mean()),
    }


def pit_coverage(below: ArrayLike, upto: ArrayLike, mass: float = 0.8) -> float:
    """Coverage of the central interval of `mass` from each label's F(y-) and F(y) (B,), atoms shared out exactly.

    Mean over rows of the part of [F(y-), F(y)] within [(1 - mass) / 2, (1 + mass) / 2], in expectation `mass` for a
    calibrated model whatever atoms its labels have: the non-randomised probability integral transform of Czado,
    Gneiting & Held (2009). Where F(y-) = F(y) the part is 0 or 1. Raises ValueError unless 0 <= F(y-) <= F(y) <= 1 and
    0 < mass < 1.
    """
    below_B, upto_B = _checked(below, upto)
    if not 0 < mass < 1:
        raise ValueError(f"mass must be between 0 and 1, got {mass}")
    bad_B = (below_B < -_SLACK) | (upto_B > 1 + _SLACK) | (below_B > upto_B + _SLACK)
    if bad_B.any():
        raise ValueError(f"{bad_B.sum()} of {len(bad_B)} rows break 0 <= F(y-) <= F(y) <= 1")
    first, last = (1 - mass) / 2, (1 + mass) / 2
    within_B = np.clip(upto_B, first, last) - np.clip(below_B, first, last)
    size_B = upto_B - below_B
    point_B = (below_B >= first) & (below_B <= last)
    return float(np.where(size_B > 0, within_B / np.where(size_B > 0, size_B, 1), point_B).mean())


def _side_of_interval(label_s: ArrayLike, low_s: ArrayLike, high_s: ArrayLike) -> Ints:
    """-1 for a label below its interval, 0 within, 1 above."""
    label, low = _checked(label_s, low_s)
    _, high = _checked(label_s, high_s)
    if (low > high).any():
        raise ValueError(f"{np.count_nonzero(low > high)} of {len(low)} intervals end before they begin")
    return (label > high + _SLACK * np.abs(high)).astype(np.int64) - (label < low - _SLACK * np.abs(low))


# -- pairs ------------------------------------------------------------------------------------------------------------


def pairs_by_row(label: ArrayLike, score: ArrayLike, group: ArrayLike | None = None) -> tuple[Floats, Floats]:
    """For each row: its pairs that the score orders as the labels are (a tie 1/2), and its pairs that differ in label.

    Two arrays (B,); their sums count every pair twice. With `group` (B,) only pairs within a group count.
    Exact, O(B log B): rows in the order (label up, score down) form an ordered pair exactly where a lower score comes
    before a higher one, so the count is that of the rises of a permutation. Groups go up in that order and down in
    rank, which turns every pair across groups into a fall.
    """
    label_B, score_B = _checked(label, score)
    group_B = np.zeros(len(label_B), np.int64) if group is None else _same_length(group, label_B)
    order_B = np.lexsort((-score_B, label_B, group_B))
    # From here on rows are in that order, and equal ones are neighbours.
    score_B, label_B, group_B = score_B[order_B], label_B[order_B], group_B[order_B]
    new_group_B = _changes(group_B)
    new_cell_B = new_group_B | _changes(label_B)
    group_B = np.cumsum(new_group_B)
    # Of tied scores the earlier row takes the higher rank, so that a tie is a fall too: sort them backwards.
    by_rank_B = len(order_B) - 1 - np.lexsort((score_B[::-1], -group_B[::-1]))
    rank_B = np.empty(len(order_B), np.int64)
    rank_B[by_rank_B] = np.arange(len(order_B))
    new_score_B = _changes(score_B[by_rank_B]) | _changes(group_B[by_rank_B])
    ties_B = _run_length(new_score_B)[rank_B] - _run_length(new_cell_B | _changes(score_B))
    ordered_B, different_B = np.empty(len(order_B)), np.empty(len(order_B))
    ordered_B[order_B] = _rises_by_row(rank_B) + ties_B / 2
    different_B[order_B] = _run_length(new_group_B) - _run_length(new_cell_B)
    return ordered_B, different_B


def _rises_by_row(rank_B: Ints) -> Ints:
    """Rises i < j, rank_i < rank_j of a permutation of 0..B-1 that each row is an end of.

    A pair is decided at the highest bit in which its ranks differ. Going from that bit down, rows are parted by it in
    stable order, so that the rows agreeing in all higher bits stay neighbours: as ranks are a permutation, those rows
    fill the positions from the lowest of their ranks on. (The walk down a wavelet tree.)
    """
    num_rows = len(rank_B)
    rank: NDArray[Any] = rank_B.astype(np.int32 if num_rows < 2**30 else np.int64)
    position = np.arange(num_rows, dtype=rank.dtype)
    ones_before = np.zeros(num_rows + 1, rank.dtype)
    rises_by_rank = np.zeros(num_rows, np.int64)
    for bit in reversed(range(max(1, (num_rows - 1).bit_length()))):
        is_one = (rank >> bit) & 1
        np.cumsum(is_one, out=ones_before[1:], dtype=rank.dtype)
        start = (rank >> (bit + 1)) << (bit + 1)
        end = np.minimum(start + (2 << bit), num_rows).astype(rank.dtype)
        ones = ones_before[:-1] - ones_before[start]
        zeros = position - start - ones
        rises_by_rank[rank] += np.where(is_one, zeros, ones_before[end] - ones_before[start] - ones)
        parted = np.empty_like(rank)
        parted[np.where(is_one, start + (1 << bit) + ones, start + zeros)] = rank
        rank = parted
    return rises_by_rank[rank_B]


def _changes(values: NDArray[Any]) -> NDArray[np.bool_]:
    """True where a run of equal values begins."""
    begins = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=begins[1:])
    return begins


def _run_length(begins: NDArray[np.bool_]) -> Ints:
    """For each row, how many rows its run has."""
    lengths: Ints = np.diff(np.append(np.flatnonzero(begins), len(begins)))
    return np.repeat(lengths, lengths)


# -- slices -----------------------------------------------------------------------------------------------------------


def bucket_index(values: ArrayLike, edges: Sequence[float]) -> Ints:
    """Bucket of each value: i in [edges[i-1], edges[i]), 0 below the first edge, len(edges) above the last; -1: nan."""
    array = np.asarray(values, np.float64)
    return np.where(np.isnan(array), -1, np.searchsorted(np.asarray(edges, np.float64), array, side="right"))


def bucket_names(edges: Sequence[float], unit: str = "") -> list[str]:
    """Names of the len(edges) + 1 buckets of `bucket_index`, for example ``< 7 s``, ``7 to 18 s``, ``>= 18 s``."""
    end = f" {unit}" if unit else ""
    inner = [f"{low:g} to {high:g}{end}" for low, high in itertools.pairwise(edges)]
    return [f"< {edges[0]:g}{end}", *inner, f">= {edges[-1]:g}{end}"]


# -- bootstrap by user ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval; ends are nan where there is none (`interval_of_draws`)."""

    value: float
    low: float
    high: float


Combine = Callable[[Floats], Floats]  # totals (..., 2) -> the metric (...)


def _addends(metric: str, label: Floats, prediction: Floats, user: Ints) -> Floats:
    """What each row adds to the two totals that a metric is computed from (B, 2)."""
    ones = np.ones(len(label))
    if metric == "mae_s":
        pair = np.abs(prediction - label), ones
    elif metric == "rmse_s":
        pair = np.square(prediction - label), ones
    elif metric == "calibration":
        pair = prediction, label
    elif metric == "gauc":
        pair = pairs_by_row(label, prediction, user)
    elif metric == "xauc":
        pair = pairs_by_row(label, prediction)
    else:
        raise ValueError(f"metric {metric!r} has no bootstrap; there are {', '.join(BOOTSTRAP_METRICS)}")
    return np.stack(pair, axis=1)


def _combine(metric: str, once: Floats) -> Combine:
    """The metric as a function of the totals over any multiset of users; `once` (2,): totals of every user once."""
    if metric == "rmse_s":
        return lambda totals: np.sqrt(_quotient(totals))
    if metric == "xauc":
        # Pairs are of second degree in the weights w of users: sum w_i w_j c_ij = 2 sum w_i c_i - sum c_i + O((w-1)^2).
        # The ratio itself is expanded, not its two parts: a denominator without a user of many rows would be near 0.
        ratio = _quotient(once)
        return lambda totals: ratio + 2 * (totals[..., 0] - ratio * totals[..., 1]) / once[1]
    return _quotient


BOOTSTRAP_METRICS = ("mae_s", "rmse_s", "xauc", "gauc", "calibration")


def _quotient(totals: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw of users with nothing to measure has no metric
        quotient: Floats = totals[..., 0] / totals[..., 1]
    return quotient


def interval_of_draws(draws_R: Floats, num_users: int) -> tuple[float, float]:
    """The 2.5th and the 97.5th percentile of a metric, or of a difference, over draws (R,) of `num_users` users.

    Both are nan for fewer than LEAST_USERS users who have something to measure, and where a draw has no metric.
    """
    if num_users < LEAST_USERS or not np.isfinite(draws_R).all():
        return math.nan, math.nan
    low, high = np.percentile(draws_R, [2.5, 97.5])
    return float(low), float(high)


def _num_users(sums_U2: Floats) -> int:
    """Users who add to a metric's denominator: for `gauc` those with two different labels alone."""
    return int(np.count_nonzero(sums_U2[:, 1]))


def paired_bootstrap(
    metric: str,
    label: ArrayLike,
    candidate: ArrayLike,
    baseline: ArrayLike,
    user_id: ArrayLike,
    replicates: int = 1000,
    seed: int = 0,
) -> Interval:
    """Difference candidate - baseline of a metric of BOOTSTRAP_METRICS on the same rows, with its 95 % interval.

    Users are drawn with replacement, with all their rows, for both models alike; the interval is from the 2.5th to the
    97.5th percentile of the difference, nan for too few users. Assumes that users are independent. Sums are taken per
    user once, so that a replicate costs O(U); for `xauc`, whose pairs cross users, a replicate is the first-order
    (Hajek) expansion of the ratio in the weights of users. Arrays (B,). Reference: Efron & Tibshirani (1993), chapter
    13; van der Vaart (1998), chapter 12.
    """
    label, candidate = _checked(label, candidate)
    user = np.unique(_same_length(user_id, label), return_inverse=True)[1]
    first = _addends(metric, label, candidate, user)
    second = _addends(metric, *_checked(label, baseline), user)
    of_first, of_second = (_combine(metric, addends.sum(axis=0)) for addends in (first, second))
    addends = np.concatenate([first, second], axis=1)
    sums_UK = np.stack([np.bincount(user, column).astype(np.float64) for column in addends.T], axis=1)
    totals_RK = bootstrap_totals(sums_UK, replicates, seed)
    difference_R = of_first(totals_RK[:, :2]) - of_second(totals_RK[:, 2:])
    ends = interval_of_draws(difference_R, min(_num_users(sums_UK[:, :2]), _num_users(sums_UK[:, 2:])))
    total_K = sums_UK.sum(axis=0)
    return Interval(float(of_first(total_K[:2]) - of_second(total_K[2:])), *ends)


@dataclass(frozen=True)
class Replicates:
    """A metric on the rows as they are, on each of R draws of users (R,), and how many users it is measured of."""

    value: float
    draws_R: Floats
    num_users: int


def bootstrap_of_seeds(
    label: ArrayLike,
    asked: Mapping[K, tuple[str, Sequence[ArrayLike]]],
    user_id: ArrayLike,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[K, Replicates]:
    """Metrics of BOOTSTRAP_METRICS over the same draws of users; `asked`: key -> (metric, predictions of each seed).

    What each row adds to a metric (its error, its ordered pairs) is averaged over the seeds first, then summed by user
    as `paired_bootstrap` does: for `mae_s`, `xauc` and `gauc` that is the mean of the seeds' metrics, for `rmse_s` the
    root of the mean of their squares. All keys share the draws, so a difference of two keys' draws is paired. Draws
    tell of users alone, not of seeds. Arrays (B,).
    """
    label = _checked(label, label)[0]
    user = np.unique(_same_length(user_id, label), return_inverse=True)[1]
    sums, combines = [], []
    for metric, predictions in asked.values():
        mean_B2 = np.mean([_addends(metric, *_checked(label, each), user) for each in predictions], axis=0)
        sums.append(np.stack([np.bincount(user, column).astype(np.float64) for column in mean_B2.T], axis=1))
        combines.append(_combine(metric, mean_B2.sum(axis=0)))
    sums_UK = np.concatenate(sums, axis=1)
    totals_RK, total_K = bootstrap_totals(sums_UK, replicates, seed), sums_UK.sum(axis=0)
    found = {}
    for number, (key, combine) in enumerate(zip(asked, combines)):
        own = slice(2 * number, 2 * number + 2)
        found[key] = Replicates(float(combine(total_K[own])), combine(totals_RK[:, own]), _num_users(sums_UK[:, own]))
    return found


def bootstrap_totals(sums_UK: Floats, replicates: int, seed: int | Sequence[int]) -> Floats:
    """Totals (R, K) of per-user sums (U, K) over R draws of U users with replacement."""
    num_users = len(sums_UK)
    generator = np.random.default_rng(seed)
    columns = [np.ascontiguousarray(column) for column in sums_UK.T]
    totals = np.empty((replicates, sums_UK.shape[1]))
    rows = max(1, DRAWS_AT_ONCE // num_users)
    for start in range(0, replicates, rows):
        drawn_RU = generator.integers(0, num_users, (min(rows, replicates - start), num_users))
        for k, column in enumerate(columns):
            # Not a matrix product of counts: BLAS adds in an order that depends on its number of threads.
            totals[start : start + rows, k] = column.take(drawn_RU).sum(axis=1)
    return totals


def _checked(label: ArrayLike, prediction: ArrayLike) -> tuple[Floats, Floats]:
    label_B, prediction_B = np.asarray(label, np.float64), np.asarray(prediction, np.float64)
    if label_B.ndim != 1 or label_B.shape != prediction_B.shape:
        raise ValueError(f"labels {label_B.shape} and predictions {prediction_B.shape} must be (rows,) of equal length")
    if not len(label_B):
        raise ValueError("no rows to measure; the metrics need at least one")
    for name, values in (("labels", label_B), ("predictions", prediction_B)):
        if not np.isfinite(values).all():
            raise ValueError(f"{np.count_nonzero(~np.isfinite(values))} of {len(values)} {name} are not finite")
    return label_B, prediction_B


def _same_length(values: ArrayLike, label: NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(values)
    if array.shape != label.shape:
        raise ValueError(f"{array.shape} user ids, groups or buckets for {label.shape} rows; one per row is needed")
    return array


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator) / float(denominator) if denominator else math.nan
