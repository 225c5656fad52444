"""The network's loss: packing, legal tokens, curriculum, adapters' view of it, and the plain reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.reference_gr import ReferenceGR, pad_labels
from tests.helpers.gr_networks import (
    VOCABULARY,
    RowEncoder,
    enumerate_probabilities,
    rows,
    small_config,
    small_network,
)
from watchline.codec import Vocabulary, VocabularyConfig
from watchline.models.gr.config import GRConfig
from watchline.models.gr.layers import dropout
from watchline.models.gr.loss import rank_scores, window_values
from watchline.models.gr.network import GRNetwork
from watchline.training.curriculum import CurriculumConfig

LABELS = torch.tensor(np.random.default_rng(1).exponential(8.0, 24)).clamp(max=30.0)
ARGUMENTS = (*rows(), LABELS)


def loss_of(network, labels=LABELS, step=0, total_steps=10, seed=0):
    return network.loss(
        *rows(), labels, step=step, total_steps=total_steps, generator=torch.Generator().manual_seed(seed)
    )


def reference_of(network):
    reference = ReferenceGR(network.config, network.encoder, network.vocabulary).double().eval()
    reference.copy_weights(network.decoder)
    return reference


def test_loss_is_the_mean_negative_log_likelihood_of_the_labels():
    network = small_network(small_config())
    units = (LABELS / VOCABULARY.unit_s).round().long()
    expected = -enumerate_probabilities(network, *rows()).gather(1, units[:, None]).log().mean()
    assert torch.allclose(loss_of(network), expected, atol=1e-10)


def test_packed_positions_give_the_logits_of_the_padded_reference():
    config = small_config(w_ce=0.7, w_huber=0.3, curriculum=CurriculumConfig(kind="mixup", start=1.0, end=1.0))
    network = small_network(config)
    reference = reference_of(network)
    assert torch.allclose(loss_of(network), reference.loss(*ARGUMENTS, share=1.0), atol=1e-9)


def test_packed_gradients_are_those_of_the_padded_reference():
    network = small_network(small_config(w_huber=0.1, norm_first=True))
    reference = reference_of(network)
    loss_of(network).backward()
    ours = network.encoder.embedding.weight.grad.clone()
    network.encoder.embedding.weight.grad = None
    reference.loss(*ARGUMENTS, share=1.0).backward()
    assert torch.allclose(ours, network.encoder.embedding.weight.grad, atol=1e-10)
    theirs = reference.layers[0].own.q.weight.grad
    assert torch.allclose(next(network.decoder.decoder_layers).q.weight.grad, theirs, atol=1e-10)


def test_cached_decoding_equals_full_passes_of_the_reference():
    network = small_network(small_config())
    decoded = network.predict(*rows(), ["window"])["window"]
    assert torch.allclose(decoded, reference_of(network).decode_window(*rows()), atol=1e-9)


def test_a_reference_batch_is_padded_with_its_longest_row():
    inputs, targets, real = pad_labels(VOCABULARY, torch.tensor([0.0, 0.7, 14.0]))
    assert inputs.tolist() == [[5, 0], [5, 1], [5, 4]]
    assert targets.tolist() == [[0, 0], [1, 0], [4, 0]]
    assert real.tolist() == [[True, False], [True, True], [True, True]]


def test_loss_does_not_depend_on_the_order_of_rows():
    network = small_network(small_config(w_huber=0.1))
    order = torch.randperm(len(LABELS))
    categorical, numeric = rows()
    shuffled = network.loss(categorical[order], numeric[order], LABELS[order], step=0, total_steps=1)
    assert torch.allclose(loss_of(network), shuffled, atol=1e-12)


def test_labels_above_the_cap_train_as_the_cap():
    network = small_network(small_config())
    assert torch.equal(loss_of(network, LABELS * 0 + VOCABULARY.cap_s), loss_of(network, LABELS * 0 + 1e6))


def test_negative_labels_are_an_error():
    with pytest.raises(ValueError, match="negative or not finite"):
        loss_of(small_network(small_config()), LABELS - 1e3)


@pytest.mark.parametrize("kind", ["mixup", "sample"])
def test_a_curriculum_changes_the_training_loss_and_nothing_in_evaluation(kind):
    curriculum = CurriculumConfig(kind=kind, start=1.0, end=0.2, schedule="linear")
    network, plain = small_network(small_config(curriculum=curriculum)), small_network(small_config())
    assert torch.equal(loss_of(network, step=9), loss_of(plain))
    network.train()
    plain.train()
    assert torch.equal(loss_of(network, step=0), loss_of(plain))
    assert not torch.allclose(loss_of(network, step=9), loss_of(plain))


@pytest.mark.parametrize("first_pass_gradient", [True, False])
def test_a_full_mixup_equals_the_reference_two_passes(first_pass_gradient):
    curriculum = CurriculumConfig(kind="mixup", start=0.0, end=0.0, first_pass_gradient=first_pass_gradient)
    network = small_network(small_config(curriculum=curriculum)).train()
    reference = reference_of(network)
    ours, theirs = loss_of(network), reference.loss(*ARGUMENTS, share=0.0)
    assert torch.allclose(ours, theirs - 0.0, atol=1e-9)
    ours.backward()
    theirs.backward()
    same = torch.allclose(network.decoder.head.weight.grad, reference.head.weight.grad, atol=1e-9)
    assert same == first_pass_gradient


def test_without_the_first_passs_gradient_the_mixed_embeddings_have_theirs():
    """No input but the first is a true token, so the others are reached through the mixture alone."""
    curriculum = CurriculumConfig(kind="mixup", start=0.0, end=0.0, first_pass_gradient=False)
    network = small_network(small_config(curriculum=curriculum)).train()
    loss_of(network).backward()
    assert (network.decoder.embedding.weight.grad[:-1].abs().sum(dim=1) > 0).all()


def test_the_generator_alone_decides_what_a_curriculum_replaces():
    curriculum = CurriculumConfig(kind="mixup", start=0.5, end=0.5)
    network = small_network(small_config(curriculum=curriculum)).train()
    torch.manual_seed(1)
    first = loss_of(network, seed=3)
    torch.manual_seed(2)
    assert torch.equal(first, loss_of(network, seed=3))
    assert not torch.equal(first, loss_of(network, seed=4))


def test_every_parameter_is_trained():
    network = small_network(small_config(dropout=0.2, norm_first=False)).train()
    loss_of(network).backward()
    idle = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert idle == []


def test_training_on_one_label_a_row_learns_it():
    network = small_network(small_config()).float()
    categorical, numeric = rows()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    network.train()
    for step in range(150):
        loss = network.loss(categorical, numeric.float(), LABELS, step=step, total_steps=150)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = network.eval().predict(categorical, numeric.float(), ["median", "mean"])
    assert (found["median"] - LABELS).abs().max() <= VOCABULARY.unit_s
    assert (found["mean"] - LABELS).abs().mean() <= 2 * VOCABULARY.unit_s


@pytest.mark.parametrize("unit_s", [1e-3, 1.0])
def test_the_codec_takes_ratios_and_amounts_of_any_size(unit_s):
    labels = torch.tensor([0.0, 0.4, 1.1, 2.7]).double() * (1 if unit_s < 1 else 100)
    vocabulary = Vocabulary((1, 7, 50, 300), unit_s, 3000 if unit_s < 1 else 300)
    config = GRConfig(width=16, num_heads=2, vocabulary=VocabularyConfig(unit_s=unit_s))
    network = GRNetwork(config, RowEncoder(16), vocabulary)
    network.fit_ranks(labels.numpy())
    categorical, numeric = rows(4)
    assert network.loss(categorical, numeric.float(), labels, step=0, total_steps=1).isfinite()
    assert network.eval().predict(categorical, numeric.float(), ["mean"])["mean"].isfinite().all()


class Shifted(nn.Linear):
    """A wrapper whose forward pass is not that of its weight alone, as an adapter's is."""

    def forward(self, input):
        return super().forward(input) + 0.5


def test_decoding_calls_modules_that_are_no_plain_linear():
    network = small_network(small_config())
    layer = next(network.decoder.decoder_layers)
    shifted = Shifted(16, 16).double()
    shifted.load_state_dict(layer.v.state_dict())
    layer.v = shifted
    probability = enumerate_probabilities(network, *rows())
    seconds = torch.arange(VOCABULARY.cap + 1, dtype=torch.float64) * VOCABULARY.unit_s
    assert torch.allclose(network.predict(*rows(), ["mean"])["mean"], probability @ seconds, atol=1e-6)


def test_state_survives_its_dictionary():
    config = small_config()
    network, other = small_network(config), small_network(config, seed=9)
    other.load_state_dict(network.state_dict())
    names = ["median", "mean", "expected_rank"]
    want, got = network.predict(*rows(), names), other.predict(*rows(), names)
    assert all(torch.equal(want[name], got[name]) for name in names)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_heads": 3}, "must divide width"),
        ({"w_ce": 0.0, "w_rps": 0.0}, "nothing would be trained"),
        ({"depth": 1}, "depth"),
    ],
)
def test_an_impossible_configuration_is_an_error(changes, reason):
    with pytest.raises(ValueError, match=reason):
        small_config(**changes)


def test_window_values_are_the_mean_within_the_window_and_nothing_at_the_end():
    probability = torch.tensor(
        [[0.1, 0.2, 0.4, 0.2, 0.1], [0.6, 0.1, 0.1, 0.1, 0.1], [0.1, 0.5, 0.2, 0.1, 0.1]]
    ).double()
    value = torch.tensor([0.0, 1.0, 2.0, 5.0, 9.0]).double()
    expected = torch.tensor([(0.2 + 0.8 + 1.0) / 0.8, 0.0, (0.5 + 0.4) / 0.7]).double()
    assert torch.allclose(window_values(probability, value, 2, True), expected)
    assert torch.allclose(window_values(probability, value, 2, False)[0], torch.tensor(2.0).double())


def test_dropout_keeps_the_mean_and_the_share():
    torch.manual_seed(0)
    dropped = dropout(torch.ones(1001, 203), 0.1)
    assert abs((dropped == 0).float().mean().item() - 0.1) < 0.003
    assert abs(dropped.mean().item() - 1) < 0.004


def test_rank_scores_are_squared_distances_of_cumulative_distributions():
    logits = torch.tensor([[0.2, 1.0, -0.5, 0.3], [2.0, 0.1, 0.4, float("-inf")]]).double()
    target = torch.tensor([2, 0])
    cumulative = logits.softmax(1).cumsum(1).numpy()
    reached = np.array([[0, 0, 1, 1], [1, 1, 1, 1]])
    assert np.allclose(rank_scores(logits, target).numpy(), ((cumulative - reached) ** 2).sum(1))


def test_rank_scores_are_lowest_on_average_at_the_true_distribution():
    """A proper score: moving any mass away from the distribution that draws the targets costs."""
    truth = torch.tensor([0.1, 0.4, 0.2, 0.3]).double()
    expected = lambda logits: (truth * rank_scores(logits.expand(4, 4), torch.arange(4))).sum().item()  # noqa: E731
    best = expected(truth.log())
    for shift in np.random.default_rng(0).normal(0, 0.3, (50, 4)):
        assert expected(truth.log() + torch.from_numpy(shift)) > best


def test_windowed_values_keep_their_seconds_under_bfloat16_autocast():
    probability = torch.tensor([[0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]])
    value = torch.tensor([0.0, 57.3, 1001.0, 1003.0])
    with torch.autocast("cpu", torch.bfloat16):
        found = window_values(probability, value, 0, False)
    assert torch.allclose(found, torch.tensor([1003.0, 57.3]))
