"""Distributions at knots: every statistic against sums over a fine grid of levels, with atoms and gaps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from watchline.models.grid_distribution import GridDistribution
from watchline.models.ranks import LabelRanks

LEVELS = (np.arange(20_000) + 0.5) / 20_000
RANKS = LabelRanks.fit(np.round(np.random.default_rng(3).exponential(8.0, 500)))


@st.composite
def distributions(draw) -> GridDistribution:
    """Two rows of up to nine knots on a coarse lattice, so that equal neighbours (atoms, gaps) are frequent."""
    count = draw(st.integers(2, 9))
    steps = st.lists(st.integers(0, 3), min_size=2 * count, max_size=2 * count)
    value = np.cumsum(np.reshape(draw(steps), (2, count)), axis=1) * draw(st.sampled_from([0.5, 7.0]))
    mass = np.reshape(draw(steps), (2, count)).astype(float)
    mass[:, 0] = 0.0
    mass[:, -1] += 1.0  # some probability there must be
    cumulative = mass.cumsum(axis=1) / mass.sum(axis=1, keepdims=True)
    shared = draw(st.booleans())
    return GridDistribution(torch.from_numpy(value[:1] if shared else value), torch.from_numpy(cumulative))


def reference_quantiles(value: np.ndarray, cumulative: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Walk the pieces of one row one by one."""
    found = np.empty(len(levels))
    for i, level in enumerate(levels):
        k = next(k for k in range(1, len(value)) if cumulative[k] >= level)
        share = (level - cumulative[k - 1]) / (cumulative[k] - cumulative[k - 1])
        found[i] = value[k - 1] + share * (value[k] - value[k - 1])
    return found


def row(distribution: GridDistribution, i: int) -> tuple[np.ndarray, np.ndarray]:
    values = distribution.value_XM.expand(len(distribution.cumulative_BM), -1)
    return values[i].numpy(), distribution.cumulative_BM[i].numpy()


@settings(deadline=None, max_examples=60)
@given(distributions())
def test_quantiles_are_the_smallest_values_that_hold_the_level(distribution):
    levels = [0.03, 0.2, 0.5, 0.77, 0.999]
    found = distribution.quantile(levels).numpy()
    assert found.shape == (len(levels), 2)
    for i in range(2):
        assert found[:, i] == pytest.approx(reference_quantiles(*row(distribution, i), np.array(levels)), abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(distributions())
def test_expectations_are_the_means_over_the_quantiles(distribution):
    drawn = distribution.quantile(LEVELS.tolist()).numpy()
    tolerance = 1e-3 * (1 + drawn.max())
    assert distribution.mean().numpy() == pytest.approx(drawn.mean(axis=0), abs=tolerance)
    assert distribution.mean_log().numpy() == pytest.approx(np.log1p(drawn).mean(axis=0), abs=1e-3)
    knots = torch.from_numpy(RANKS.label_K), torch.from_numpy(RANKS.rank_K)
    assert distribution.expected_rank(*knots).numpy() == pytest.approx(RANKS(drawn).mean(axis=0), abs=1e-3)


@settings(deadline=None, max_examples=60)
@given(distributions(), st.integers(-1, 60))
def test_cumulative_counts_the_quantiles_below_and_up_to_a_value(distribution, place):
    label = torch.full((2,), place / 2, dtype=torch.float64)
    below, upto = (part.numpy() for part in distribution.cumulative(label))
    drawn = distribution.quantile(LEVELS.tolist()).numpy()
    assert below == pytest.approx((drawn < place / 2 - 1e-9).mean(axis=0), abs=2e-4)
    assert upto == pytest.approx((drawn <= place / 2 + 1e-9).mean(axis=0), abs=2e-4)


def test_a_single_atom_has_itself_for_every_statistic():
    atom = GridDistribution(torch.full((1, 2), 7.0).double(), torch.tensor([[0.0, 1.0]]).double())
    assert atom.quantile([0.1, 0.9]).flatten().tolist() == [7.0, 7.0]
    assert atom.mean().item() == 7.0
    assert atom.mean_log().item() == pytest.approx(np.log(8.0))
    assert [part.item() for part in atom.cumulative(torch.tensor([7.0]))] == [0.0, 1.0]
    assert [part.item() for part in atom.cumulative(torch.tensor([6.9]))] == [0.0, 0.0]
    assert [part.item() for part in atom.cumulative(torch.tensor([7.1]))] == [1.0, 1.0]


def test_narrow_pieces_far_out_lose_no_precision():
    value = torch.tensor([[3000.0, 3000.0 + 1e-5, 3000.1]]).double()
    narrow = GridDistribution(value, torch.tensor([[0.0, 0.5, 1.0]]).double())
    assert narrow.mean_log().item() == pytest.approx(np.log1p(3000.025), abs=1e-8)
