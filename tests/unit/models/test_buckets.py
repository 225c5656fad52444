"""Buckets between training quantiles: atoms apart, labels' own shape inside."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from watchline.models.heads.buckets import Buckets, fit_buckets

RNG = np.random.default_rng(0)
LABEL = np.where(RNG.random(5000) < 0.2, 0.0, RNG.exponential(20.0, 5000))
LABEL[RNG.random(5000) < 0.1] = 15.0
LEVELS = np.linspace(0.0, 1.0, 34)[1:-1].tolist()


@pytest.fixture(scope="module")
def buckets() -> Buckets:
    return Buckets(fit_buckets(LABEL, LEVELS))


def shares(buckets: Buckets) -> torch.Tensor:
    """Training probability up to each threshold, as one row."""
    inside = buckets.exceeds(torch.from_numpy(LABEL))
    return 1 - inside.double().mean(dim=0, keepdim=True)


def test_a_value_that_repeats_has_a_bucket_of_its_own(buckets):
    number = buckets.bucket(torch.from_numpy(LABEL))
    for value in (0.0, 15.0):
        (own,) = number[torch.from_numpy(value == LABEL)].unique().tolist()
        assert (LABEL[(number == own).numpy()] == value).all()
    assert number.unique().tolist() == list(range(len(buckets)))


def test_at_the_training_shares_the_distribution_is_that_of_the_training_labels(buckets):
    law = buckets.distribution(shares(buckets))
    assert law.mean().item() == pytest.approx(LABEL.mean(), rel=2e-3)
    assert law.mean_log().item() == pytest.approx(np.log1p(LABEL).mean(), rel=2e-3)
    levels = [0.1, 0.25, 0.5, 0.9]
    assert law.quantile(levels)[:, 0].tolist() == pytest.approx(np.quantile(LABEL, levels), rel=0.02)
    for value in (0.0, 15.0, 30.0):
        below, upto = (part.item() for part in law.cumulative(torch.tensor([value])))
        assert below == pytest.approx((value > LABEL).mean(), abs=0.005)
        assert upto == pytest.approx((value >= LABEL).mean(), abs=0.005)


def test_bucket_means_are_those_of_the_training_labels(buckets):
    number = buckets.bucket(torch.from_numpy(LABEL)).numpy()
    expected = [LABEL[number == k].mean() for k in range(len(buckets))]
    assert buckets.means().tolist() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("label", [np.zeros(50), np.full(50, 7.0), np.array([3.0])], ids=["zeros", "equal", "one"])
def test_equal_labels_are_one_atom_whatever_the_probabilities(label):
    buckets = Buckets(fit_buckets(label, LEVELS))
    law = buckets.distribution(torch.full((2, len(buckets) - 1), 0.3, dtype=torch.float64))
    assert law.quantile([0.1, 0.9]).unique().tolist() == [label[0]]
    assert buckets.bucket(torch.from_numpy(label)).unique().tolist() == [0]
