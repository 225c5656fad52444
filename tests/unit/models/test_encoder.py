"""The feature encoder: memory vectors, id dropout, one embedding row per code."""

from __future__ import annotations

import torch

from watchline.models.encoder import EncoderConfig, FeatureEncoder, spread

CARDINALITIES = [500, 4]


def encoder(**changes) -> FeatureEncoder:
    torch.manual_seed(0)
    return FeatureEncoder(
        CARDINALITIES, 3, EncoderConfig(**{"dropout": 0.0, "number_dropout": 0.0, **changes}), width=8
    )


def inputs(rows: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    codes = [torch.randint(1, size, (rows,), generator=generator) for size in CARDINALITIES]
    return torch.stack(codes, dim=1), torch.rand(rows, 3, generator=generator)


def test_memory_has_one_vector_of_the_given_width_per_row():
    assert encoder()(*inputs()).shape == (64, 8)


def test_id_dropout_acts_in_training_only():
    network = encoder(id_dropout=0.5)
    codes, numbers = inputs()
    assert not torch.equal(network.train()(codes, numbers), network(codes, numbers))
    network.eval()
    assert torch.equal(network(codes, numbers), network(codes, numbers))


def test_id_dropout_leaves_small_columns_alone():
    network = encoder(id_dropout=0.999).train()
    codes, numbers = inputs()
    unknown = codes.clone()
    unknown[:, 0] = 0
    assert torch.allclose(network(codes, numbers), network.eval()(unknown, numbers), atol=1e-6)


def test_a_dropped_number_reads_as_the_middle_of_every_bin_in_training_only():
    network = encoder(number_dropout=0.999, id_dropout=0.0)
    codes, numbers = inputs()
    zeros = torch.zeros(64, 3 * network.numeric_bins)
    embedded = network.embedding(codes + network.offset_F).flatten(1)
    expected = network.norm(network.layers(torch.cat([embedded, zeros], dim=1)))
    assert torch.allclose(network.train()(codes, numbers), expected, atol=1e-6)
    assert not torch.allclose(network.eval()(codes, numbers), expected, atol=1e-3)


def test_codes_of_different_columns_have_different_embeddings():
    network = encoder().eval()
    codes = torch.tensor([[3, 1], [1, 3]])
    memory = network(codes, torch.zeros(2, 3))
    assert not torch.allclose(memory[0], memory[1])


def test_encoder_without_numbers_or_without_categories_works():
    config = EncoderConfig()
    only_codes = FeatureEncoder([5], 0, config, width=4)(torch.ones(2, 1, dtype=torch.int64), torch.zeros(2, 0))
    only_numbers = FeatureEncoder([], 2, config, width=4)(torch.zeros(2, 0, dtype=torch.int64), torch.ones(2, 2))
    assert only_codes.shape == only_numbers.shape == (2, 4)


def test_spread_adds_up_to_the_number():
    numbers = torch.rand(20, 3, dtype=torch.float64)
    spread_out = spread(numbers, 8) + 0.5
    assert torch.allclose(spread_out.sum(2) / 8, numbers)
    assert (spread_out.diff(dim=2) <= 0).all()
