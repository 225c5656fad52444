"""The mixture of an exponential and truncated Gaussians, against numeric integration of its density."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from watchline.models.exponential_gaussian import ExponentialGaussian
from watchline.models.ranks import LabelRanks

GRID = torch.linspace(0.0, 60.0, 60_001, dtype=torch.float64)
STEP = 0.001


@pytest.fixture(scope="module")
def mixture() -> ExponentialGaussian:
    """Three rows of one exponential and two Gaussians, one of them half below 0."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(3, 3, generator=generator, dtype=torch.float64).log_softmax(dim=1)
    mean = torch.tensor([[0.0, 5.0], [2.0, 9.0], [0.5, 20.0]], dtype=torch.float64)
    width = torch.tensor([[1.0, 2.0], [3.0, 0.3], [0.2, 4.0]], dtype=torch.float64)
    exponential = torch.tensor([0.5, 2.0, 4.0], dtype=torch.float64)
    return ExponentialGaussian(weight, mean, exponential, width, torch.linspace(0.0, 80.0, 4001, dtype=torch.float64))


@pytest.fixture(scope="module")
def density(mixture) -> np.ndarray:
    """Density of every row at the middles of the grid's steps (3, points)."""
    middles = (GRID[1:] + GRID[:-1]) / 2
    parts = [mixture.log_density(point.expand(3)) for point in middles[::20]]
    coarse = torch.stack(parts, dim=1).exp().numpy()
    return np.stack([np.interp(middles.numpy(), middles[::20].numpy(), row) for row in coarse])


def test_the_distribution_function_is_the_integral_of_the_density(mixture, density):
    found = mixture.distribution_function(GRID[None, 1:]).numpy()
    assert found == pytest.approx(density.cumsum(axis=1) * STEP, abs=2e-2 * STEP * 60)
    assert found[:, -1] == pytest.approx(1.0, abs=1e-4)


def test_expectations_are_integrals_over_the_density(mixture, density):
    middles = ((GRID[1:] + GRID[:-1]) / 2).numpy()
    assert mixture.mean().numpy() == pytest.approx((density * middles).sum(axis=1) * STEP, rel=1e-3)
    assert mixture.mean_log().numpy() == pytest.approx((density * np.log1p(middles)).sum(axis=1) * STEP, rel=1e-3)
    ranks = LabelRanks.fit(np.random.default_rng(0).exponential(6.0, 900))
    knots = torch.from_numpy(ranks.label_K), torch.from_numpy(ranks.rank_K)
    expected = (density * ranks(middles)).sum(axis=1) * STEP
    assert mixture.expected_rank(*knots).numpy() == pytest.approx(expected, abs=1e-3)


def test_quantiles_invert_the_distribution_function(mixture):
    levels = [0.001, 0.1, 0.5, 0.9, 0.999]
    found = mixture.quantile(levels)
    reached = mixture.distribution_function(found.T)
    assert torch.allclose(reached, torch.tensor(levels, dtype=torch.float64).expand(3, -1), atol=1e-9)
    assert (found.diff(dim=0) > 0).all()
