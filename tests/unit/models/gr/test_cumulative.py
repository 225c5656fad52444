"""The cumulative distribution at labels against the enumeration of every sequence of a small vocabulary."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.gr_networks import VOCABULARY, enumerate_probabilities, rows, small_config, small_network
from watchline.codec import Vocabulary
from watchline.metrics import interval_coverage, pit_coverage
from watchline.models.gr.cumulative import cumulative

ALL_LABELS = range(VOCABULARY.cap + 1)


def at(network, label_s_B, which=slice(None)):
    """Rows `which` of the network, at their labels."""
    memory_BD = network.encoder(*(part[which] for part in rows()))
    return cumulative(network.decoder, network.vocabulary, memory_BD, label_s_B)


@pytest.fixture(scope="module", params=[{}, {"norm_first": False, "position": "none"}], ids=str)
def network(request):
    return small_network(small_config(**request.param))


@pytest.fixture(scope="module")
def probability(network):
    return enumerate_probabilities(network, *rows())


@torch.no_grad()
def test_it_is_that_of_the_enumerated_distribution_at_every_label(network, probability):
    upto = probability.cumsum(1)
    for units in ALL_LABELS:
        label_s_B = torch.full((len(probability),), units * VOCABULARY.unit_s, dtype=torch.float64)
        below_B, upto_B = at(network, label_s_B)
        assert torch.allclose(below_B, upto[:, units] - probability[:, units], rtol=0, atol=1e-12)
        assert torch.allclose(upto_B, upto[:, units], rtol=0, atol=1e-12)


@torch.no_grad()
def test_rows_with_labels_of_different_lengths_keep_their_order(network, probability):
    units_B = torch.randint(0, VOCABULARY.cap + 1, (len(probability),), generator=torch.Generator().manual_seed(1))
    below_B, upto_B = at(network, units_B * VOCABULARY.unit_s)
    expected_B = probability.cumsum(1).gather(1, units_B[:, None]).squeeze(1)
    assert torch.allclose(upto_B, expected_B, rtol=0, atol=1e-12)
    assert torch.allclose(upto_B - below_B, probability.gather(1, units_B[:, None]).squeeze(1), rtol=0, atol=1e-12)


@torch.no_grad()
def test_labels_are_rounded_to_the_unit_and_everything_is_up_to_the_cap(network):
    found = at(network, torch.tensor([0.0, 2.0, 42.0, 1e6]), slice(0, 4))
    rounded = at(network, torch.tensor([0.0, 2.1, 42.0, 42.0]), slice(0, 4))
    assert torch.equal(found[0], rounded[0]) and torch.equal(found[1], rounded[1])
    assert found[0][0] == 0 and torch.allclose(found[1][2:], torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-12)


@torch.no_grad()
def test_of_labels_drawn_from_the_model_the_transform_covers_its_mass_where_intervals_cover_more():
    network = small_network(small_config(), Vocabulary((1, 4, 16), 1.0, 30))
    probability = enumerate_probabilities(network, *rows())
    drawn = torch.multinomial(probability, 600, replacement=True, generator=torch.Generator().manual_seed(0))
    which = torch.arange(len(probability)).repeat_interleave(600)
    label_B = drawn.flatten().double()
    quantile = network.predict(*(part[which] for part in rows()), ["quantile:0.1", "quantile:0.9"])
    assert abs(pit_coverage(*(part.numpy() for part in at(network, label_B, which))) - 0.8) < 0.01
    assert interval_coverage(label_B, quantile["quantile:0.1"], quantile["quantile:0.9"]) > 0.85


@torch.no_grad()
def test_saturated_distributions_stay_within_0_and_1():
    """Sums of probabilities round; a coverage measured from them must not stumble over that."""
    network = small_network(small_config())
    network.decoder.head.weight.mul_(20)
    for units in ALL_LABELS:
        below_B, upto_B = at(network, torch.full((len(rows()[0]),), units * VOCABULARY.unit_s, dtype=torch.float64))
        assert (below_B <= upto_B).all() and upto_B.max() <= 1
        assert 0 <= pit_coverage(below_B.numpy(), upto_B.numpy()) <= 1
