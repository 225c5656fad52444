"""Assignment to arms by salted hash."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from watchline.experiment.assignment import assign, hash_uniform

USERS = np.arange(20_000)


def test_a_user_is_in_the_same_arm_whoever_else_is_there():
    arms = assign(USERS, "salt")
    shuffled = np.random.default_rng(0).permutation(USERS)
    assert np.array_equal(assign(shuffled, "salt"), arms[shuffled])
    assert assign(np.array([7]), "salt")[0] == arms[7]


def test_the_hash_is_frozen():
    assert hash_uniform(np.array([0, 1, 123456789]), "watchline").round(6).tolist() == [0.32043, 0.48657, 0.783834]


def test_hashes_are_uniform_and_independent_of_the_id_and_between_salts():
    first, second = hash_uniform(USERS, "a"), hash_uniform(USERS, "b")
    assert first.min() >= 0 and first.max() < 1
    assert stats.kstest(first, "uniform").pvalue > 0.001
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert abs(np.corrcoef(first, USERS)[0, 1]) < 0.03


def test_arms_have_their_shares():
    counts = np.bincount(assign(USERS, "salt", [0.7, 0.2, 0.1]))
    assert stats.chisquare(counts, len(USERS) * np.array([0.7, 0.2, 0.1])).pvalue > 0.001


@pytest.mark.parametrize("shares", [[0.5, 0.6], [1.0, 0.0], [1.2, -0.2]])
def test_shares_that_are_no_partition_are_an_error(shares):
    with pytest.raises(ValueError, match="sum to 1"):
        assign(USERS, "salt", shares)
