"""AdamW on the mean gradient of shards."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from tests.helpers import plain_hd_pissa as plain
from tests.helpers.tuning import applied_share
from watchline.adapters.collective import Collective
from watchline.adapters.data_parallel import DataParallel
from watchline.adapters.shards import Shards


def make(network: nn.Module, num_shards: int = 3, weight_decay: float = 0.0) -> DataParallel:
    collective = Collective()
    parameters = dict(network.named_parameters())
    return DataParallel(parameters, Shards(num_shards, collective), collective, (0.8, 0.95), 1e-6, weight_decay)


def feed(network: nn.Module, trainer: DataParallel, shards: list[plain.Batch], accumulation: int = 1) -> None:
    for j, (x, target) in enumerate(shards):
        with trainer.shards.feed(j):
            for part_x, part_target in zip(x.chunk(accumulation), target.chunk(accumulation), strict=True):
                (plain.squared_error(network(part_x), part_target) / accumulation).backward()


def train(network: nn.Module, trainer: DataParallel, batches: list[list[plain.Batch]], accumulation: int = 1) -> None:
    for shards in batches:
        feed(network, trainer, shards, accumulation)
        trainer.step(1e-3)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_steps_are_those_of_adamw_on_the_mean_loss(weight_decay: float) -> None:
    batches, expected, found = plain.make_batches(4, 3), plain.make_network(), plain.make_network()
    adam = torch.optim.AdamW(expected.parameters(), lr=1e-3, betas=(0.8, 0.95), eps=1e-6, weight_decay=weight_decay)
    for shards in batches:
        adam.zero_grad()
        torch.stack([plain.squared_error(expected(x), target) for x, target in shards]).mean().backward()
        adam.step()
    train(found, make(found, weight_decay=weight_decay), batches)
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


def test_losses_of_several_passes_of_a_shard_add_up() -> None:
    batches, whole, parts = plain.make_batches(2, 3), plain.make_network(), plain.make_network()
    train(whole, make(whole), batches)
    train(parts, make(parts), batches, accumulation=4)
    for one, other in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_a_gradient_is_taken_once_and_none_stays_on_the_parameters() -> None:
    network = plain.make_network()
    trainer = make(network)
    feed(network, trainer, plain.make_batches(1, 3)[0])
    assert all(parameter.grad is None for parameter in network.parameters())
    trainer.step(1e-3)
    assert all(parameter.grad is None for parameter in network.parameters())
    with pytest.raises(RuntimeError, match=r"slices \[0, 1, 2\] saw no backward pass"):
        trainer.step(1e-3)


def test_an_unfed_shard_and_nothing_to_train_are_errors() -> None:
    network = plain.make_network()
    trainer = make(network)
    feed(network, trainer, plain.make_batches(1, 2)[0])
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(RuntimeError, match=r"slices \[2\] saw no backward pass"):
        trainer.step(1e-3)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with pytest.raises(ValueError, match="no parameter is left to train"):
        make(nn.Sequential())


def test_a_pass_of_no_named_shard_is_an_error() -> None:
    network = plain.make_network()
    make(network)
    x, target = plain.make_batches(1, 1)[0][0]
    with pytest.raises(RuntimeError, match="hosts slices"):
        plain.squared_error(network(x), target).backward()


def test_the_removed_leaves_gradients_where_autograd_puts_them() -> None:
    network = plain.make_network()
    make(network).remove()
    x, target = plain.make_batches(1, 1)[0][0]
    plain.squared_error(network(x), target).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def linear_loss_moves(dtype: torch.dtype) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """A weight at the start and how far 50 small steps took it; the loss is linear, so gradients are the same."""
    generator = torch.Generator().manual_seed(0)
    network = nn.Linear(128, 96, bias=False, dtype=dtype)
    with torch.no_grad():
        network.weight.copy_((torch.randn(96, 128, generator=generator) / 8).bfloat16())
    start = network.weight.detach().clone()
    x, gy = (torch.randn(3, 8, width, generator=generator).bfloat16().to(dtype) for width in (128, 96))
    trainer = make(network)
    for _ in range(50):
        for j in range(3):
            with trainer.shards.feed(j):
                (network(x[j]) * gy[j]).sum().backward()
        trainer.step(2e-5)
    return start, network.weight.detach().float() - start.float(), trainer.state_dict()


def test_bfloat16_parameters_take_more_than_99_percent_of_the_update() -> None:
    start, expected, _ = linear_loss_moves(torch.float32)
    low_start, rounded, state = linear_loss_moves(torch.bfloat16)
    assert state["weight/master"].dtype == torch.float32
    assert torch.equal(low_start.float(), start)
    assert 0.99 < applied_share(state["weight/master"] - start, expected) < 1.01
    assert torch.equal(rounded, state["weight/master"].bfloat16().float() - start)
    nearest = low_start
    for _ in range(50):
        nearest = (nearest.float() + expected / 50).bfloat16()
    assert applied_share(nearest - low_start, expected) < 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_resuming_is_bitwise(dtype: torch.dtype) -> None:
    batches, straight = plain.make_batches(5, 3, dtype), plain.make_network(dtype=dtype)
    train(straight, make(straight), batches)
    first, resumed = plain.make_network(dtype=dtype), plain.make_network(seed=7, dtype=dtype)
    trainer = make(first)
    train(first, trainer, batches[:2])
    saved, state = copy.deepcopy(first.state_dict()), copy.deepcopy(trainer.state_dict())
    train(first, trainer, batches[2:])  # what was saved is a copy
    trainer = make(resumed)
    resumed.load_state_dict(saved)
    trainer.load_state_dict(state)
    train(resumed, trainer, batches[2:])
    assert all(torch.equal(value, straight.state_dict()[name]) for name, value in resumed.state_dict().items())


def test_a_state_without_the_float32_copies_is_refused() -> None:
    network = plain.make_network(dtype=torch.bfloat16)
    trainer = make(network)
    train(network, trainer, plain.make_batches(1, 3, torch.bfloat16))
    state = {key: value for key, value in trainer.state_dict().items() if key != "2.weight/master"}
    with pytest.raises(ValueError, match=r"lacks the float32 copy of 2\.weight"):
        trainer.load_state_dict(state)


@pytest.mark.parametrize("lacking", ["2.weight/exp_avg", "2.weight/exp_avg_sq", "2.weight/step", "2.weight/"])
def test_a_state_that_lacks_moments_is_refused(lacking: str) -> None:
    network = plain.make_network()
    trainer = make(network)
    train(network, trainer, plain.make_batches(1, 3))
    state = {key: value for key, value in trainer.state_dict().items() if not key.startswith(lacking)}
    with pytest.raises(ValueError, match=r"2\.weight"):
        trainer.load_state_dict(state)


def test_bfloat16_parameters_loaded_without_their_copies_are_refused_at_the_next_step() -> None:
    network, batches = plain.make_network(dtype=torch.bfloat16), plain.make_batches(2, 3, torch.bfloat16)
    trainer = make(network)
    train(network, trainer, batches[:1])
    saved, state = copy.deepcopy(network.state_dict()), copy.deepcopy(trainer.state_dict())
    network.load_state_dict(saved)
    feed(network, trainer, batches[1])
    with pytest.raises(RuntimeError, match=r"0\.weight.*load the optimizer's state after the parameters"):
        trainer.step(1e-3)
    trainer.load_state_dict(state)
    trainer.step(1e-3)
