"""Ranks among training labels: mid-ranks at the labels, linear in between, the same after saving."""

from __future__ import annotations

import numpy as np
import pytest

from watchline.models.ranks import LabelRanks


def test_a_label_has_the_share_below_it_and_half_of_those_equal():
    ranks = LabelRanks.fit(np.array([0.0, 0.0, 5.0, 10.0]))
    assert ranks(np.array([0.0, 2.5, 5.0, 10.0, 99.0])).tolist() == [0.25, 0.4375, 0.625, 0.875, 0.875]


def test_saved_ranks_come_back(tmp_path):
    ranks = LabelRanks.fit(np.random.default_rng(0).lognormal(2, 1, 5000))
    ranks.save(tmp_path)
    values = np.linspace(0, 50, 99)
    assert np.array_equal(LabelRanks.load(tmp_path)(values), ranks(values))


def test_missing_ranks_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"ranks\.safetensors"):
        LabelRanks.load(tmp_path)
