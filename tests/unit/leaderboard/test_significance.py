"""The bootstrap over seeds is that of the mean metric, and Holm's correction that of the textbook."""

import numpy as np
import pytest

from tests.helpers.leaderboard_runs import rows
from watchline import metrics
from watchline.leaderboard.significance import Comparison, compare, p_value
from watchline.metrics import Replicates, bootstrap_of_seeds

DATA = rows()
GENERATOR = np.random.default_rng(5)
SEEDS = [DATA.label + GENERATOR.normal(0, 9, len(DATA.label)) for _ in range(3)]


@pytest.mark.parametrize("metric", ["mae_s", "xauc", "gauc"])
def test_the_value_over_seeds_is_the_mean_of_the_seeds_metrics(metric):
    of_one = {"mae_s": metrics.mae, "xauc": metrics.xauc, "gauc": lambda *a: metrics.gauc(*a, DATA.user)}[metric]
    found = bootstrap_of_seeds(DATA.label, {"model": (metric, SEEDS)}, DATA.user, 10)["model"]
    assert found.value == pytest.approx(np.mean([of_one(DATA.label, prediction) for prediction in SEEDS]))


def test_rmse_over_seeds_is_the_root_of_the_mean_square():
    found = bootstrap_of_seeds(DATA.label, {"model": ("rmse_s", SEEDS)}, DATA.user, 10)["model"]
    assert found.value == pytest.approx(np.sqrt(np.mean([metrics.rmse(DATA.label, p) ** 2 for p in SEEDS])))


@pytest.mark.parametrize("metric", metrics.BOOTSTRAP_METRICS)
def test_with_one_seed_the_difference_is_that_of_the_paired_bootstrap(metric):
    first, second = SEEDS[:2]
    draws = bootstrap_of_seeds(
        DATA.label, {"a": (metric, [first]), "b": (metric, [second])}, DATA.user, replicates=200, seed=3
    )
    known = metrics.paired_bootstrap(metric, DATA.label, first, second, DATA.user, replicates=200, seed=3)
    difference_R = draws["a"].draws_R - draws["b"].draws_R
    assert draws["a"].value - draws["b"].value == pytest.approx(known.value)
    assert np.percentile(difference_R, [2.5, 97.5]) == pytest.approx([known.low, known.high])


def test_p_value_counts_the_rarer_side_and_never_reaches_zero():
    assert p_value(np.full(99, 1.0)) == pytest.approx(0.02)
    assert p_value(np.r_[np.full(95, 1.0), np.full(4, -1.0)]) == pytest.approx(0.1)
    assert p_value(np.zeros(50)) == 1.0


def test_p_values_of_equal_models_are_about_uniform():
    """Two models of the same law differ by chance alone: p < .1 about one time in ten."""
    generator = np.random.default_rng(1)
    low = 0
    for number in range(120):
        label = generator.exponential(20, 300)
        pair = [label + generator.normal(0, 9, 300) for _ in range(2)]
        user = generator.integers(0, 100, 300)
        asked = {name: ("mae_s", [prediction]) for name, prediction in zip("ab", pair)}
        draws = bootstrap_of_seeds(label, asked, user, 200, number)
        low += p_value(draws["a"].draws_R - draws["b"].draws_R) < 0.1
    assert 3 <= low <= 24


def test_correction_is_over_all_comparisons_of_the_list():
    base = np.linspace(-1, 1, 399)
    draws = {
        ("a", "mae_s"): Replicates(0.0, base * 0, 100),
        ("b", "mae_s"): Replicates(1.0, base + 0.99, 100),
        ("c", "mae_s"): Replicates(0.1, base, 100),
    }
    found = {each.model: each for each in compare(draws, {"mae_s": "a"})}
    assert set(found) == {"b", "c"}
    b: Comparison = found["b"]
    assert b.p_corrected == pytest.approx(2 * b.p_value) and b.value == 1.0
    assert found["c"].p_corrected == 1.0 and not found["c"].is_significant


def pair_of_models(user: np.ndarray, metric: str) -> list[Comparison]:
    """A model that knows the label against one that has it backwards."""
    label = np.random.default_rng(2).exponential(20, len(user))
    asked = {(name, metric): (metric, [sign * label]) for name, sign in (("good", 1), ("bad", -1))}
    return compare(bootstrap_of_seeds(label, asked, user, 1000, 1), {metric: "bad"})


@pytest.mark.parametrize("metric", ["mae_s", "rmse_s", "xauc", "gauc"])
@pytest.mark.parametrize("num_users", [1, 2, metrics.LEAST_USERS - 1])
def test_of_too_few_users_nothing_is_significant_and_there_is_no_interval(num_users, metric):
    (found,) = pair_of_models(np.arange(200) % num_users, metric)
    assert (found.low, found.high, found.p_value, found.p_corrected) == (None, None, None, None)
    assert not found.is_significant and found.value != 0


def test_the_least_number_of_users_is_enough():
    (found,) = pair_of_models(np.arange(200) % metrics.LEAST_USERS, "xauc")
    assert found.is_significant and found.low <= found.value <= found.high


def test_users_without_a_pair_do_not_count_for_gauc():
    """Of 300 users 3 have two exposures: a draw without them has no GAUC, and is on no side of 0."""
    (found,) = pair_of_models(np.r_[np.arange(300), 0, 1, 2], "gauc")
    assert found.value == 1 and found.low is None and not found.is_significant


def test_comparisons_of_too_few_users_are_not_corrected_for():
    base = np.linspace(-0.01, 1, 399)
    draws = {
        ("a", "mae_s"): Replicates(0.0, base * 0, 100),
        ("b", "mae_s"): Replicates(1.0, base, 100),
        ("a", "gauc"): Replicates(0.0, base * 0, 3),
        ("b", "gauc"): Replicates(1.0, base, 3),
    }
    found = {each.metric: each for each in compare(draws, dict.fromkeys(("mae_s", "gauc"), "a"))}
    assert found["mae_s"].p_corrected == found["mae_s"].p_value and found["gauc"].p_corrected is None


@pytest.mark.parametrize("num_models", [2, 11])
def test_it_takes_forty_draws_a_comparison(num_models):
    def board(num_draws):
        base = np.linspace(1, 2, num_draws)
        draws = {(f"m{number}", "mae_s"): Replicates(number, number * base, 100) for number in range(num_models)}
        return compare(draws, {"mae_s": "m0"})

    least = 40 * (num_models - 1)
    assert all(each.is_significant for each in board(least))
    with pytest.raises(ValueError, match=f"replicates: {least - 1} draws leave no corrected p"):
        board(least - 1)
