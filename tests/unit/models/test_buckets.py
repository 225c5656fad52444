"""Buckets between training quantiles: atoms apart, labels' own shape inside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from watchline.data.encoding import EncodedTable
from watchline.models.cread import CREADConfig, CREADHead, gamma
from watchline.models.heads import Rows
from watchline.models.heads.buckets import Buckets, fit_buckets
from watchline.models.ordinal import OrdinalConfig, OrdinalHead
from watchline.models.tpm import TPMConfig, TPMHead

RNG = np.random.default_rng(0)
LABEL = np.where(RNG.random(5000) < 0.2, 0.0, RNG.exponential(20.0, 5000))
LABEL[RNG.random(5000) < 0.1] = 15.0
LEVELS = np.linspace(0.0, 1.0, 34)[1:-1].tolist()
NO_ENCODER: Any = None  # these heads look at labels alone
HEADS: list[Any] = [(OrdinalHead, OrdinalConfig()), (TPMHead, TPMConfig()), (CREADHead, CREADConfig())]


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


@pytest.mark.parametrize(("head", "config"), HEADS, ids=["ordinal", "tpm", "cread"])
@pytest.mark.parametrize("mean_s", [1.0, 3.0, 40.0])
def test_labels_in_whole_seconds_leave_no_bucket_empty_and_no_knot_falls(head, config, mean_s):
    generator = np.random.default_rng(7)
    label = generator.poisson(mean_s, 2000).astype(np.float64)
    table = EncodedTable(np.zeros((2000, 0), np.int32), np.zeros((2000, 0), np.float32), label)
    prepared = head.prepare(config, table, NO_ENCODER)
    assert (np.diff(prepared["knot_M"]) >= 0).all()
    fitted = Buckets(prepared)
    assert fitted.bucket(torch.from_numpy(label)).unique().tolist() == list(range(len(fitted)))

    torch.manual_seed(0)
    memory = 4 * torch.randn(2000, 8)
    with torch.no_grad():
        law = head(config, 8, prepared).law(Rows(memory, memory))
    assert (law.quantile([0.05, 0.1, 0.5, 0.9, 0.95]).diff(dim=0) >= 0).all()
    below, upto = law.cumulative(torch.from_numpy(label))
    assert (below <= upto).all()


@pytest.mark.parametrize("levels", [LEVELS, gamma(np.arange(1, 40) / 40, 2.0).tolist()], ids=["even", "cread"])
def test_thresholds_of_continuous_labels_are_the_quantiles_and_a_point_below_each_atom(levels):
    at, times = np.unique(np.quantile(LABEL, levels, method="inverted_cdf"), return_counts=True)
    expected = np.union1d(at, np.nextafter(at[times > 1], -np.inf))
    expected = expected[(expected >= LABEL.min()) & (expected < LABEL.max())]
    assert fit_buckets(LABEL, levels)["threshold_K"].tolist() == expected.tolist()
