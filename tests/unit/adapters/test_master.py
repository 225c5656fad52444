"""What reaches weights of eight bits of significand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.tuning import applied_share
from watchline.adapters.master import Weights, round_stochastically

MASTERS = ["fp32", "kahan", "stochastic"]


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(master: str, shape: tuple[int, int] = (160, 128), dtype: torch.dtype = torch.bfloat16) -> Weights:
    weight = nn.Parameter((torch.randn(shape, generator=draw(0)) / 16).bfloat16().to(dtype))
    return Weights({"w": weight}, master)  # type: ignore[arg-type]


@torch.no_grad()
def move(weights: Weights, num_steps: int = 50, size: float = 1e-5) -> Tensor:
    """The sum of the updates, each much smaller than half the last bit of most weights."""
    m, n = weights.weights["w"].shape
    left, right = torch.randn(4, m, generator=draw(1)), torch.randn(4, n, generator=draw(2))
    wider = torch.promote_types(weights.weights["w"].dtype, torch.float32)
    for step in range(num_steps):
        weights.add_product("w", left.to(wider), right.to(wider), -size, seed=step)
    return -num_steps * size * left.double().T @ right.double()


@pytest.mark.parametrize("master", MASTERS)
def test_small_updates_arrive_and_round_to_nearest_would_drop_them(master: str) -> None:
    weights = make(master)
    start = weights.exact("w").clone()
    expected = move(weights)
    assert 0.99 < applied_share(weights.exact("w") - start, expected) < 1.01
    nearest = start.bfloat16()
    for _ in range(50):
        nearest = (nearest.float() + expected.float() / 50).bfloat16()
    assert applied_share(nearest - start, expected) < 0.5


@pytest.mark.parametrize(("master", "bound"), [("fp32", 1e-4), ("kahan", 1e-2)])
def test_weight_and_what_is_held_back_make_up_the_exact_sum(master: str, bound: float) -> None:
    weights = make(master)
    start = weights.exact("w").clone()
    expected = move(weights)
    assert float((weights.exact("w") - start - expected).norm() / expected.norm()) < bound
    rounded = weights.weights["w"].detach().float()
    assert bool(((weights.exact("w") - rounded).abs() <= 2**-8 * rounded.abs()).all())  # half the last bit


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("master", MASTERS)
def test_wider_weights_are_moved_as_they_are_and_keep_nothing_beside(master: str, dtype: torch.dtype) -> None:
    weights = make(master, dtype=dtype)
    start = weights.exact("w").clone()
    expected = move(weights)
    assert weights.tensors() == {}
    assert weights.exact("w").dtype == dtype
    assert torch.equal(weights.exact("w"), weights.weights["w"])
    assert float((weights.exact("w") - start - expected).norm() / expected.norm()) < 1e5 * torch.finfo(dtype).eps


@pytest.mark.parametrize("master", ["kahan", "stochastic"])
def test_a_weight_of_several_blocks_is_moved_in_every_row(master: str) -> None:
    shape = (2100, 2048)  # more than 2^22 numbers
    weights = make(master, shape)
    start = weights.weights["w"].detach().double()
    expected = move(weights, num_steps=1, size=1.0)
    error = (weights.weights["w"].detach().double() - start - expected).abs()
    assert bool((error <= 2**-7 * (start + expected).abs() + 1e-5).all())  # one last bit at most
    assert float((error > 0).double().mean()) > 0.9
    rows = weights.weights["w"].detach()
    assert not torch.equal(rows[0] - start[0], rows[2048] - start[2048])


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_stochastic_rounding_is_right_on_average(sign: float, share: float) -> None:
    num_draws, low, last_bit = 40_000, 1.5, 2**-7
    values = torch.full((num_draws,), sign * (low + share * last_bit))
    exact = float(values[0])
    rounded = round_stochastically(values, draw(3)).double()
    assert sorted(set(rounded.abs().tolist())) == [low, low + last_bit]
    standard_error = last_bit * math.sqrt(share * (1 - share) / num_draws)
    assert abs(float(rounded.mean()) - exact) < 4 * standard_error


def test_stochastic_rounding_leaves_what_bfloat16_can_hold() -> None:
    values = torch.cat((torch.randn(10_000, generator=draw(4)).bfloat16().float(), torch.tensor([0.0, -0.0, 1.0])))
    for seed in range(3):
        assert torch.equal(round_stochastically(values.clone(), draw(seed)).float(), values)


def test_stochastic_rounding_of_one_seed_gives_the_same_bits() -> None:
    values = torch.randn(10_000, generator=draw(5))
    first, second, other = (round_stochastically(values.clone(), draw(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("master", ["fp32", "kahan"])
def test_what_is_held_back_can_be_saved_and_is_asked_for(master: str) -> None:
    weights, other = make(master), make(master)
    move(weights)
    saved = copy.deepcopy(weights.tensors())
    with torch.no_grad():
        other.weights["w"].copy_(weights.weights["w"])
    other.load_tensors(saved)
    assert torch.equal(other.exact("w"), weights.exact("w"))
    move(weights)
    move(other)
    assert torch.equal(other.exact("w"), weights.exact("w"))
    assert not torch.equal(saved["w"], weights.tensors()["w"])  # it moved on
    with pytest.raises(ValueError, match=f"lacks master={master} of w"):
        other.load_tensors({})
