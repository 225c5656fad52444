"""Decodings against the enumeration of every sequence of a small vocabulary."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.helpers.gr_networks import (
    VOCABULARY,
    enumerate_probabilities,
    rows,
    small_config,
    small_network,
    training_labels,
)
from watchline.codec import Vocabulary, to_units
from watchline.models.gr import network as network_module

SECONDS = torch.arange(VOCABULARY.cap + 1, dtype=torch.float64) * VOCABULARY.unit_s
LEVELS = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
VARIANTS = [
    {},
    {"norm_first": False},
    {"position": "none"},
    {"position": "sinusoidal", "num_layers": 1},
    {"num_heads": 1, "num_layers": 3},
]


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def network(request):
    return small_network(small_config(**request.param))


@pytest.fixture(scope="module")
def probability(network):
    return enumerate_probabilities(network, *rows())


def test_probabilities_of_all_sequences_sum_to_one(probability):
    assert torch.allclose(probability.sum(1), torch.ones(len(probability), dtype=torch.float64), atol=1e-12)


def test_quantiles_are_those_of_the_enumerated_distribution(network, probability):
    found = network.predict(*rows(), [f"quantile:{level}" for level in LEVELS])
    cumulative = probability.cumsum(1)
    for level in LEVELS:
        expected = (cumulative < level).sum(1).double() * VOCABULARY.unit_s
        assert torch.allclose(found[f"quantile:{level}"], expected, rtol=0, atol=1e-9), level


def test_median_is_the_half_quantile(network):
    found = network.predict(*rows(), ["median", "quantile:0.5"])
    assert torch.equal(found["median"], found["quantile:0.5"])


def test_mean_and_mean_log_are_exact_at_zero_tolerance(network, probability):
    found = network.predict(*rows(), ["mean", "mean_log"])
    assert torch.allclose(found["mean"], probability @ SECONDS, rtol=0, atol=1e-9)
    assert torch.allclose(found["mean_log"], probability @ SECONDS.log1p(), rtol=0, atol=1e-9)


def test_expected_rank_is_the_mean_training_rank_ties_counting_half(network, probability):
    units = torch.from_numpy(to_units(VOCABULARY, training_labels()))[:, None]
    values = torch.arange(VOCABULARY.cap + 1)
    rank = ((units < values).double().mean(0) + (units <= values).double().mean(0)) / 2
    found = network.predict(*rows(), ["expected_rank"])["expected_rank"]
    assert torch.allclose(found, probability @ rank, rtol=0, atol=1e-9)


def test_argmax_takes_the_likeliest_class_at_every_step(network, probability):
    found = network.predict(*rows(), ["argmax"])["argmax"]
    legal, values = VOCABULARY.legal, VOCABULARY.class_values
    for row, p in enumerate(probability.numpy()):
        state, units = 0, 0
        while True:
            # Mass of each continuation is that of the labels it covers.
            masses = [p[units]]
            for index in range(1, legal.num_legal_S[state] + 1):
                low = units + values[index]
                masses.append(p[low : low + legal.bound_S[legal.next_SC[state, index]]].sum())
            best = int(np.argmax(masses))
            if best == 0:
                break
            state, units = legal.next_SC[state, best], units + values[best]
        assert found[row] == units * VOCABULARY.unit_s


def test_a_window_of_one_token_is_argmax_and_a_full_one_lies_within_the_cap(network):
    config = network.config
    network.config = config.model_copy(update={"window": 0})
    narrow = network.predict(*rows(), ["window", "argmax"])
    network.config = config
    assert torch.allclose(narrow["window"], narrow["argmax"], atol=1e-9)
    assert (network.predict(*rows(), ["window"])["window"] >= 0).all()


@pytest.mark.parametrize("statistic", ["median", "quantile:0.9", "mean", "expected_rank", "mean_log", "window"])
def test_a_statistic_does_not_depend_on_what_is_asked_beside_it(network, statistic):
    together = network.predict(*rows(), ["median", "quantile:0.9", "mean", "expected_rank", "mean_log", "window"])
    alone = network.predict(*rows(), [statistic])
    assert torch.allclose(alone[statistic], together[statistic], atol=1e-9)


def test_rows_do_not_depend_on_their_batch(network, monkeypatch):
    statistics = ["median", "quantile:0.97", "mean", "argmax"]
    whole = network.predict(*rows(), statistics)
    monkeypatch.setattr(network_module, "_NODES_OF_ENUMERATION", 5 * (VOCABULARY.cap + 1))
    parts = network.predict(*rows(), statistics)
    for name in statistics:
        assert torch.allclose(whole[name], parts[name], atol=1e-9)


@pytest.mark.parametrize("tolerance", [0.02, 0.2, 1.0])
def test_a_tolerance_bounds_the_error_of_every_part(tolerance):
    exact = small_network(small_config())
    loose = small_network(small_config(mean_tolerance_s=tolerance, rank_tolerance=tolerance / 10))
    names = ["mean", "expected_rank", "mean_log"]
    want, got = exact.predict(*rows(), names), loose.predict(*rows(), names)
    assert not torch.equal(want["mean"], got["mean"])
    for name in names:
        error = (want[name] - got[name]).abs().max()
        assert error < 10 * (tolerance if name == "mean" else tolerance / 10)


def test_tolerance_leaves_parts_filled_by_the_training_labels():
    # With an infinite tolerance the mean is that of the first tokens' parts, each with its training mean.
    network = small_network(small_config(mean_tolerance_s=1e9, rank_tolerance=1.0))
    labels = to_units(VOCABULARY, training_labels())
    probability = enumerate_probabilities(network, *rows())
    expected = torch.zeros(len(probability), dtype=torch.float64)
    edges = [*VOCABULARY.values, VOCABULARY.cap + 1]
    for low, high in pairwise(edges):
        inside = labels[(labels >= low) & (labels < high)]
        expected += probability[:, low:high].sum(1) * float(inside.mean()) * VOCABULARY.unit_s
    assert torch.allclose(network.predict(*rows(), ["mean"])["mean"], expected, atol=1e-9)


def test_thinned_knots_give_nearly_the_same_expectations():
    """A millisecond vocabulary has too many units for a knot each."""
    config = small_config(mean_tolerance_s=0.01, rank_tolerance=0.001)
    coarse = small_network(config, Vocabulary((1, 4, 16, 64), 0.1, 300))
    fine = small_network(config, Vocabulary((1, 4, 16, 64), 0.1, 300))
    fine.law.every_unit = False
    fine.law.fit(training_labels())
    names = ["mean", "expected_rank", "mean_log"]
    want, got = coarse.predict(*rows(), names), fine.predict(*rows(), names)
    for name in names:
        assert torch.allclose(want[name], got[name], atol=1e-2), name


@pytest.mark.parametrize("name", ["mode", "quantile:1.5", "quantile:x", "quantile:0"])
def test_an_unknown_statistic_is_a_key_error_that_says_what_there_is(network, name):
    with pytest.raises(KeyError, match=r"there are median|quantile:0\.9"):
        network.predict(*rows(), [name])


def test_expectations_before_fit_ranks_are_an_error():
    network = small_network(small_config())
    network.law.below_G.zero_()
    with pytest.raises(RuntimeError, match="fit_ranks"):
        network.predict(*rows(), ["mean"])
    assert network.predict(*rows(), ["median"])["median"].shape == (len(rows()[0]),)


def test_no_rows_give_no_values(network):
    found = network.predict(*(part[:0] for part in rows()), ["median", "mean", "window"])
    assert {name: tuple(value.shape) for name, value in found.items()} == {"median": (0,), "mean": (0,), "window": (0,)}


def test_central_intervals_cover_what_the_distribution_says():
    """Labels drawn from the network itself: 80 % of them lie between its 10 % and 90 % quantiles, but for ties."""
    network = small_network(small_config(), Vocabulary((1, 4, 16, 64), 0.1, 200))
    probability = enumerate_probabilities(network, *rows())
    generator = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(probability, 400, replacement=True, generator=generator) * 0.1
    found = network.predict(*rows(), ["quantile:0.1", "quantile:0.9"])
    below = (drawn < found["quantile:0.1"][:, None] - 0.05).double().mean().item()
    above = (drawn > found["quantile:0.9"][:, None] + 0.05).double().mean().item()
    assert below <= 0.11 and above <= 0.11
