"""One buffer of gradients against torch's own clipping."""

from __future__ import annotations

import torch
from torch import nn

from watchline.training.gradients import Gradients


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 3), nn.LayerNorm(3))


def backward(module: nn.Module) -> None:
    module(torch.tensor([1, 5, 5])).square().sum().backward()


def test_clipped_gradients_are_those_of_torch():
    ours, plain = network(), network()
    gradients = Gradients(ours.parameters())
    for max_norm in (0.5, 1e3):
        gradients.clear()
        plain.zero_grad()
        backward(ours)
        backward(plain)
        gradients.clip(max_norm)
        nn.utils.clip_grad_norm_(plain.parameters(), max_norm)
        for a, b in zip(ours.parameters(), plain.parameters()):
            assert torch.allclose(a.grad, b.grad, atol=1e-7)


def test_backward_passes_add_up_until_cleared():
    ours = network()
    gradients = Gradients(ours.parameters())
    backward(ours)
    once = gradients.flat.clone()
    backward(ours)
    assert torch.allclose(gradients.flat, 2 * once)
    gradients.clear()
    assert all((parameter.grad == 0).all() for parameter in ours.parameters())


def test_frozen_parameters_have_no_gradient():
    ours = network()
    ours[0].weight.requires_grad_(False)
    gradients = Gradients(ours.parameters())
    backward(ours)
    assert ours[0].weight.grad is None
    assert gradients.flat.numel() == 4 * 3 + 3 + 3 + 3
