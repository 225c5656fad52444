"""Compiled parts compute what the plain ones do, on any number of rows, and leave nothing behind."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.gr_networks import small_config
from watchline.codec import Vocabulary
from watchline.models.encoder import EncoderConfig, FeatureEncoder
from watchline.models.gr.network import GRNetwork
from watchline.training.compiling import CompiledParts


def build() -> GRNetwork:
    torch.manual_seed(0)
    encoder = FeatureEncoder(
        [5, 9], 3, EncoderConfig(hidden_width=16, dropout=0.0, id_dropout=0.0, number_dropout=0.0), 16
    )
    return GRNetwork(small_config(num_layers=1), encoder, Vocabulary((1, 3, 8, 20), 0.7, 60)).train()


def batch(rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    codes = torch.randint(0, 5, (rows, 2), generator=generator)
    return codes, torch.rand(rows, 3, generator=generator), 30 * torch.rand(rows, generator=generator).double()


def loss_and_gradient(network: GRNetwork, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    network.zero_grad()
    loss = network.loss(*batch(rows), step=0, total_steps=1)
    loss.backward()
    return loss.detach(), torch.cat([parameter.grad.flatten().clone() for parameter in network.parameters()])


@pytest.mark.timeout(280)
def test_losses_and_gradients_are_those_of_the_plain_network():
    network = build()
    plain = [loss_and_gradient(network, rows) for rows in (24, 37)]
    with CompiledParts(network, active=True).in_place():
        assert "forward" in vars(network.encoder)
        compiled = [loss_and_gradient(network, rows) for rows in (24, 37)]
    for (loss, gradient), (other_loss, other_gradient) in zip(plain, compiled):
        assert torch.allclose(loss, other_loss, atol=1e-5)
        assert torch.allclose(gradient, other_gradient, atol=1e-5)


def test_nothing_stays_compiled():
    network = build()
    names = list(vars(network.encoder))
    with CompiledParts(network, active=True).in_place():
        pass
    assert list(vars(network.encoder)) == names
