"""Offline metrics against brute force, hand-worked values and resampling."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchline import metrics

small = st.integers(0, 5)
rows = st.lists(st.tuples(small, small, st.integers(0, 2)), min_size=1, max_size=25)


def brute_pairs(label, score, group=None):
    ordered, different = 0.0, 0
    for i in range(len(label)):
        for j in range(i):
            if label[i] == label[j] or (group is not None and group[i] != group[j]):
                continue
            different += 1
            ordered += 0.5 if score[i] == score[j] else float((score[i] < score[j]) == (label[i] < label[j]))
    return ordered, different


@settings(max_examples=200, deadline=None)
@given(rows)
def test_xauc_equals_the_count_over_all_pairs(rows):
    label, score, _ = np.array(rows).T
    ordered, different = brute_pairs(label, score)
    num_pairs = len(rows) * (len(rows) - 1) // 2
    assert metrics.xauc(label, score) == pytest.approx(ordered / different if different else math.nan, nan_ok=True)
    expected = ordered / num_pairs if num_pairs else math.nan
    assert metrics.xauc_all_pairs(label, score) == pytest.approx(expected, nan_ok=True)


@settings(max_examples=200, deadline=None)
@given(rows)
def test_gauc_equals_the_count_over_pairs_within_users(rows):
    label, score, user = np.array(rows).T
    ordered, different = brute_pairs(label, score, user)
    assert metrics.gauc(label, score, user) == pytest.approx(
        ordered / different if different else math.nan, nan_ok=True
    )


@settings(max_examples=100, deadline=None)
@given(rows)
def test_pairs_by_row_name_the_ends_of_every_pair(rows):
    label, score, group = np.array(rows).T
    ordered, different = metrics.pairs_by_row(label, score, group)
    for i in range(len(rows)):
        others = [j for j in range(len(rows)) if group[j] == group[i] and label[j] != label[i]]
        wins = [np.sign(label[i] - label[j]) * np.sign(score[i] - score[j]) for j in others]
        assert different[i] == len(others)
        assert ordered[i] == sum((win + 1) / 2 for win in wins)


def test_xauc_is_one_half_of_a_constant_score_and_one_of_the_label_itself():
    label = np.array([3.0, 0.0, 7.5, 7.5, 1.0])
    assert metrics.xauc(label, np.ones(5)) == 0.5
    assert metrics.xauc(label, label) == 1.0
    assert metrics.xauc(label, -label) == 0.0
    assert metrics.xauc_all_pairs(label, label) == 0.9  # one of ten pairs has equal labels


def test_xauc_changes_by_no_monotone_map_and_no_shuffle_of_the_rows():
    generator = np.random.default_rng(0)
    label, score = generator.exponential(10, 500).round(), generator.normal(size=500)
    order = generator.permutation(500)
    assert metrics.xauc(label[order], score[order]) == metrics.xauc(label, score)
    assert metrics.xauc(label, np.exp(score)) == metrics.xauc(np.sqrt(label), score)


def test_xauc_of_a_million_rows_takes_at_most_two_seconds_of_one_core():
    generator = np.random.default_rng(1)
    label, score = generator.exponential(20, 1_000_000).round(3), generator.random(1_000_000)
    started = time.process_time()
    metrics.xauc(label, score)
    assert time.process_time() - started <= 2.0


def test_errors_and_calibration_on_values_worked_by_hand():
    label, prediction = [0.0, 0.5, 4.0, 10.0], [1.0, 0.5, 6.0, 6.0]
    assert metrics.mae(label, prediction) == 1.75
    assert metrics.rmse(label, prediction) == pytest.approx(math.sqrt(21 / 4))
    assert metrics.calibration(label, prediction) == pytest.approx(13.5 / 14.5)
    assert metrics.mae_near_zero(label, prediction) == 0.5
    assert metrics.bias_near_zero(label, prediction) == 0.5
    assert math.isnan(metrics.mae_near_zero([2.0], [1.0]))
    assert math.isnan(metrics.calibration([0.0], [1.0]))


def test_deciles_partition_the_rows_by_rising_prediction():
    generator = np.random.default_rng(2)
    label, prediction = generator.random(1003), generator.random(1003)
    bins = metrics.calibration_by_decile(label, prediction)
    assert [part["bin"] for part in bins] == list(range(1, 11))
    assert sum(part["rows"] for part in bins) == 1003
    assert np.all(np.diff([part["mean_prediction_s"] for part in bins]) > 0)
    assert sum(part["rows"] * part["mean_label_s"] for part in bins) == pytest.approx(label.sum())
    assert len(metrics.calibration_by_decile([1.0, 2.0], [1.0, 2.0])) == 2


def test_interval_shares_of_values_worked_by_hand():
    found = metrics.interval_metrics([0.0, 2.0, 5.0, 9.0], [0.0, 3.0, 1.0, 1.0], [4.0, 4.0, 5.0, 8.0])
    assert found == {"coverage": 0.5, "width_s": 4.0, "below": 0.25, "above": 0.25}
    assert metrics.interval_coverage([0.0, 2.0], [0.0, 2.0], [0.0, 2.0]) == 1.0


def test_an_interval_holds_ends_that_are_sums_of_rounded_units():
    assert 0.3 < 3 * 0.1 and 0.7 * 3 < 2.1  # in floating point
    assert metrics.interval_coverage([0.3, 2.1], [3 * 0.1, 0.0], [1.0, 0.7 * 3]) == 1.0
    assert metrics.interval_coverage([0.2999, 2.1001], [3 * 0.1, 0.0], [1.0, 0.7 * 3]) == 0.0


def test_the_transform_covers_the_mass_of_any_interval_when_labels_follow_the_distribution():
    """Exact over the labels' own law, an atom of 0.35 at zero included; a wrong law does not cover."""
    probability = np.array([0.35, 0.05, 0.2, 0.3, 0.1])
    upto = probability.cumsum()
    rows = np.repeat(np.arange(5), (probability * 20).round().astype(int))
    for mass in (0.1, 0.5, 0.8, 0.95):
        assert metrics.pit_coverage((upto - probability)[rows], upto[rows], mass) == pytest.approx(mass)
    assert metrics.pit_coverage((upto - probability)[[0]], upto[[0]]) == pytest.approx(0.25 / 0.35)


def test_the_transform_of_a_continuous_law_is_the_share_of_values_within():
    value = np.array([0.05, 0.1, 0.3, 0.95])
    assert metrics.pit_coverage(value, value) == 0.5


@pytest.mark.parametrize(
    "measure, message",
    [
        (lambda: metrics.interval_coverage([1.0, 1.0], [2.0, 0.0], [1.0, 1.0]), "1 of 2 intervals end before"),
        (lambda: metrics.interval_width([1.0], [math.inf]), "not finite"),
        (lambda: metrics.interval_metrics([1.0], [1.0, 2.0], [1.0, 2.0]), r"\(1,\) and predictions \(2,\)"),
        (lambda: metrics.pit_coverage([0.5, 0.5], [0.4, 0.6]), "1 of 2 rows break"),
        (lambda: metrics.pit_coverage([0.5], [1.1]), "1 of 1 rows break"),
        (lambda: metrics.pit_coverage([0.5], [0.6], 1.0), "between 0 and 1, got 1.0"),
    ],
)
def test_intervals_that_are_none_are_an_error_that_says_why(measure, message):
    with pytest.raises(ValueError, match=message):
        measure()


def test_buckets_hold_their_lower_edge_and_have_a_name_each():
    edges = [7, 18]
    assert metrics.bucket_index([0.0, 6.9, 7.0, 18.0, 99.0, math.nan], edges).tolist() == [0, 0, 1, 2, 2, -1]
    assert metrics.bucket_names(edges, "s") == ["< 7 s", "7 to 18 s", ">= 18 s"]


@pytest.mark.parametrize(
    "label, prediction, message",
    [
        ([], [], "no rows"),
        ([1.0], [1.0, 2.0], r"\(1,\) and predictions \(2,\)"),
        ([1.0, 2.0], [math.nan, 1.0], "1 of 2 predictions are not finite"),
    ],
)
def test_arrays_that_cannot_be_measured_are_an_error_that_says_why(label, prediction, message):
    for metric in (metrics.mae, metrics.rmse, metrics.xauc, metrics.calibration):
        with pytest.raises(ValueError, match=message):
            metric(label, prediction)


def population(seed, num_users=150):
    """Labels, the scores of a stronger and a weaker model with shared errors, and users of unequal size."""
    generator = np.random.default_rng(seed)
    user = np.repeat(np.arange(num_users), 1 + generator.poisson(6, num_users))
    taste, appeal = generator.normal(0, 1, num_users)[user], generator.normal(0, 0.8, len(user))
    label = np.round(np.exp(1.5 + 0.6 * taste + appeal), 1)
    shared = generator.normal(0, 1, len(user))
    weak = np.exp(1.5 + 0.4 * taste + 0.3 * appeal + 0.5 * shared)
    strong = np.exp(1.5 + 0.4 * taste + 0.5 * appeal + 0.4 * shared + 0.2 * generator.normal(0, 1, num_users)[user])
    return label, strong, weak, user


@pytest.mark.parametrize("metric", metrics.BOOTSTRAP_METRICS)
def test_bootstrap_interval_is_that_of_resampling_the_rows_of_users(metric):
    label, strong, weak, user = population(3)
    plain = {"mae_s": metrics.mae, "rmse_s": metrics.rmse, "xauc": metrics.xauc, "calibration": metrics.calibration}
    found = metrics.paired_bootstrap(metric, label, strong, weak, user, replicates=400, seed=1)
    generator = np.random.default_rng(4)
    members = [np.flatnonzero(user == u) for u in range(user.max() + 1)]
    differences = []
    for _ in range(400):
        drawn = [members[u] for u in generator.integers(0, len(members), len(members))]
        take = np.concatenate(drawn)
        if metric == "gauc":
            copy = np.repeat(np.arange(len(drawn)), [len(part) for part in drawn])
            pair = [metrics.gauc(label[take], scores[take], copy) for scores in (strong, weak)]
        else:
            pair = [plain[metric](label[take], scores[take]) for scores in (strong, weak)]
        differences.append(pair[0] - pair[1])
    low, high = np.percentile(differences, [2.5, 97.5])
    assert found.low < found.value < found.high
    assert found.high - found.low == pytest.approx(high - low, rel=0.2)
    assert found.low == pytest.approx(low, abs=0.15 * (high - low))


def test_bootstrap_of_xauc_stays_by_resampling_where_one_user_has_most_of_the_rows():
    generator = np.random.default_rng(3)
    user = np.r_[np.zeros(400, int), np.repeat(np.arange(1, 30), generator.integers(1, 16, 29))]
    label = generator.exponential(np.where(user == 0, 3.0, 30.0))
    first = label + generator.normal(0, 9, len(user))
    second = np.where(user == 0, label, 0.0) + generator.normal(0, 9, len(user))
    members = [np.flatnonzero(user == u) for u in range(30)]
    differences = []
    for _ in range(400):
        take = np.concatenate([members[u] for u in generator.integers(0, 30, 30)])
        differences.append(metrics.xauc(label[take], first[take]) - metrics.xauc(label[take], second[take]))
    low, high = np.percentile(differences, [2.5, 97.5])
    found = metrics.paired_bootstrap("xauc", label, first, second, user, replicates=1000, seed=1)
    assert found.value == pytest.approx(metrics.xauc(label, first) - metrics.xauc(label, second))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.5 * (high - low))


def test_bootstrap_interval_covers_the_true_difference_at_its_rate():
    """Users carry the difference, so an interval from rows would be far too short."""
    truth, hits, runs = 0.5, 0, 200
    for seed in range(runs):
        generator = np.random.default_rng(seed)
        user = np.repeat(np.arange(100), 20)
        label = np.full(len(user), 10.0)
        worse = label + 2.0 + truth + generator.normal(0, 0.5, 100)[user]
        found = metrics.paired_bootstrap("mae_s", label, worse, label + 2.0, user, replicates=300, seed=seed)
        hits += found.low <= truth <= found.high
    assert 0.89 <= hits / runs <= 0.99


def test_bootstrap_gives_the_same_bytes_for_the_same_seed_and_zero_for_the_same_model():
    label, strong, weak, user = population(5)
    first = metrics.paired_bootstrap("xauc", label, strong, weak, user, replicates=50, seed=9)
    assert first == metrics.paired_bootstrap("xauc", label, strong, weak, user, replicates=50, seed=9)
    same = metrics.paired_bootstrap("rmse_s", label, weak, weak, user, replicates=50, seed=9)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="there are mae_s, rmse_s"):
        metrics.paired_bootstrap("auc", label, strong, weak, user)
