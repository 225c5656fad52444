"""The optimizer of HD-PiSSA: what it refuses, what it resumes from, what reaches bfloat16 weights."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from tests.helpers import plain_hd_pissa as plain
from tests.helpers.tuning import applied_share, config, feed, weights
from watchline.adapters.hd_pissa import HDPiSSAConfig, inject
from watchline.adapters.optimizer import HDPiSSAOptimizer, learning_rate

LRS = [1e-3, 2e-3, 3e-3, 2e-3, 1e-3]
MASTERS = ["fp32", "kahan", "stochastic"]


def train(network: nn.Sequential, optimizer: HDPiSSAOptimizer, batches: list[list[plain.Batch]]) -> None:
    for shards, optimizer.lr in zip(batches, LRS[-len(batches) :], strict=True):
        feed(network, optimizer.adapters, shards)
        optimizer.step()


@pytest.mark.parametrize("reduce", ["local", "mean"])
@pytest.mark.parametrize(
    ("dtype", "master"), [(torch.float32, "fp32"), *((torch.bfloat16, master) for master in MASTERS)]
)
def test_resuming_is_bitwise(dtype: torch.dtype, master: str, reduce: str) -> None:
    batches = plain.make_batches(5, 4, dtype)
    networks = [plain.make_network(dtype=dtype) for _ in range(2)]
    first = [HDPiSSAOptimizer(inject(x, config(master=master, reduce=reduce)), lr=0.0, seed=5) for x in networks]
    train(networks[0], first[0], batches)

    for shards, first[1].lr in zip(batches[:2], LRS[:2], strict=True):
        feed(networks[1], first[1].adapters, shards)
        first[1].step()
    saved_weights, saved_state = copy.deepcopy(networks[1].state_dict()), copy.deepcopy(first[1].state_dict())
    train(networks[1], first[1], batches[2:])  # what was saved is a copy

    resumed = plain.make_network(seed=7, dtype=dtype)
    resumed.load_state_dict(saved_weights)
    optimizer = HDPiSSAOptimizer(inject(resumed, config(master=master, reduce=reduce)), lr=0.0, seed=5)
    optimizer.load_state_dict(saved_state)
    train(resumed, optimizer, batches[2:])
    assert all(torch.equal(a, b) for a, b in zip(weights(resumed), weights(networks[0]), strict=True))
    ends = [first[0].state_dict(), optimizer.state_dict()]
    assert ends[0].keys() == ends[1].keys()
    assert [k for k, x in ends[0].items() if isinstance(x, Tensor) and not torch.equal(x, ends[1][k])] == []


@pytest.mark.parametrize("master", ["fp32", "kahan"])
def test_a_state_without_the_master_copies_is_refused(master: str) -> None:
    optimizer = HDPiSSAOptimizer(inject(plain.make_network(dtype=torch.bfloat16), config(master=master)), lr=1e-3)
    state = optimizer.state_dict()
    assert {key for key in state if key.startswith("master/")} == {"master/0", "master/2", "master/4"}
    for lacking in (["master/2"], ["master/0", "master/2", "master/4"]):
        with pytest.raises(ValueError, match=f"lacks master={master} of .*2.*another setting"):
            optimizer.load_state_dict({key: value for key, value in state.items() if key not in lacking})


def test_weights_loaded_without_the_optimizers_state_are_refused_at_the_next_step() -> None:
    network, batches = plain.make_network(), plain.make_batches(2, 4)
    optimizer = HDPiSSAOptimizer(inject(network, config()), lr=1e-3)
    train(network, optimizer, batches[:1])
    saved_weights, saved_state = copy.deepcopy(network.state_dict()), optimizer.state_dict()
    network.load_state_dict(saved_weights)
    feed(network, optimizer.adapters, batches[1])
    before = weights(network)
    with pytest.raises(RuntimeError, match=r"0, 2, 4: weights were loaded .* load the optimizer's state after the wei"):
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(weights(network), before, strict=True))
    optimizer.load_state_dict(saved_state)
    train(network, optimizer, batches[1:])


def test_one_weight_changed_by_hand_is_named() -> None:
    network = plain.make_network()
    optimizer = HDPiSSAOptimizer(inject(network, config()), lr=1e-3)
    with torch.no_grad():
        network[2].weight.mul_(2)
    feed(network, optimizer.adapters, plain.make_batches(1, 4)[0])
    with pytest.raises(RuntimeError, match=r"^2: weights were loaded or changed since the last step"):
        optimizer.step()


def linear_loss_moves(
    dtype: torch.dtype, lr: float, num_steps: int = 50, seed: int = 0, **others: object
) -> tuple[Tensor, Tensor, Tensor]:
    """A weight at the start; how far it went, with what rounding holds back and without. The loss is linear in it.

    So all settings see the same gradients, and only what becomes of the updates differs.
    """
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Linear(256, 192, bias=False, dtype=dtype))
    with torch.no_grad():
        network[0].weight.copy_((torch.randn(192, 256, generator=generator) / 16).bfloat16())
    x, gy = (torch.randn(4, 32, width, generator=generator).bfloat16().to(dtype) for width in (256, 192))
    start = network[0].weight.detach().clone()
    adapters = inject(network, HDPiSSAConfig(rank=8, num_slices=4, targets=("*",), **others))  # type: ignore[arg-type]
    optimizer = HDPiSSAOptimizer(adapters, lr=lr, seed=seed)
    for _ in range(num_steps):
        for j in range(4):
            with adapters.slice(j):
                (network(x[j]) * gy[j]).sum().backward()
        optimizer.step()
    return start, optimizer._weights.exact("0") - start, network[0].weight.detach() - start


@pytest.mark.parametrize("lr", [5e-5, 2e-5])
def test_bfloat16_weights_take_more_than_99_percent_of_the_update(lr: float) -> None:
    start, expected, _ = linear_loss_moves(torch.float32, lr)
    for master in MASTERS:
        _, exact, rounded = linear_loss_moves(torch.bfloat16, lr, master=master)
        assert 0.99 < applied_share(exact, expected) < 1.01, master
        assert 0.99 < applied_share(rounded, expected) < 1.01, master
    nearest = start.bfloat16()  # without any of them
    for _ in range(50):
        nearest = (nearest.float() + expected / 50).bfloat16()
    assert applied_share(nearest - start, expected) < 0.5


def test_stochastic_rounding_draws_anew_at_every_step_and_follows_the_seed() -> None:
    """With the same draw at each of many small steps, the same few numbers would move every time and others never."""
    _, expected, _ = linear_loss_moves(torch.float32, 2e-5)
    _, _, moved = linear_loss_moves(torch.bfloat16, 2e-5, master="stochastic")
    last_bit = 2**-10  # of weights in [1/8, 1/4); few are larger
    touched = expected.abs() > 2 * last_bit
    assert int(touched.sum()) > 100
    assert float((moved[touched] != 0).double().mean()) > 0.95
    assert torch.equal(moved, linear_loss_moves(torch.bfloat16, 2e-5, master="stochastic")[2])
    assert not torch.equal(moved, linear_loss_moves(torch.bfloat16, 2e-5, master="stochastic", seed=1)[2])


def test_stochastic_rounding_draws_apart_for_every_weight() -> None:
    network = nn.Sequential(*(nn.Linear(64, 64, bias=False, dtype=torch.bfloat16) for _ in range(2)))
    network[1].load_state_dict(network[0].state_dict())
    adapters = inject(network, config(4, 1, master="stochastic"))
    for layer in network:
        layer(torch.ones(1, 64, dtype=torch.bfloat16)).sum().backward()
    HDPiSSAOptimizer(adapters, lr=2e-4).step()
    assert not torch.equal(network[0].weight, network[1].weight)


def test_a_state_without_bases_or_of_another_layout_is_refused() -> None:
    optimizer = HDPiSSAOptimizer(inject(plain.make_network(), config()), lr=1e-3)
    state = optimizer.state_dict()
    with pytest.raises(ValueError, match="lacks bases"):
        optimizer.load_state_dict({key: value for key, value in state.items() if key != "bases"})
    other = HDPiSSAOptimizer(inject(plain.make_network(), config(rank=1)), lr=1e-3)
    with pytest.raises(ValueError, match="other layers, slices or ranks"):
        other.load_state_dict(state)


@pytest.mark.parametrize("decay", ["constant", "linear", "cosine"])
@pytest.mark.parametrize(("total", "share"), [(1, 0.0), (1, 1.0), (3, 0.03), (100, 0.03), (100, 0.5), (10, 1.0)])
def test_no_step_has_learning_rate_zero(decay: str, total: int, share: float) -> None:
    rates = [learning_rate(step, total, 2e-5, share, decay) for step in range(total)]  # type: ignore[arg-type]
    assert min(rates) > 0
    assert max(rates) <= 2e-5


def test_a_weight_used_outside_its_layer_is_noticed() -> None:
    network = plain.make_network()
    adapters = inject(network, config(2, 1))
    x, _ = plain.make_batches(1, 1)[0][0]
    (network(x).mean() + network[0].weight.mean()).backward()
    with pytest.raises(RuntimeError, match="0: the weight was used outside its layer"):
        HDPiSSAOptimizer(adapters, lr=1e-3).step()


def test_an_unfed_slice_and_an_unnamed_slice_are_errors() -> None:
    network = plain.make_network()
    adapters = inject(network, config(2, 2))
    x, target = plain.make_batches(1, 1)[0][0]
    with pytest.raises(RuntimeError, match=r"with adapters.slice\(j\)"):
        network(x)
    with adapters.slice(0):
        plain.squared_error(network(x), target).backward()
    with pytest.raises(RuntimeError, match=r"slices \[1\] saw no backward pass"):
        HDPiSSAOptimizer(adapters, lr=1e-3).step()
    with pytest.raises(ValueError, match="slice 2 is not hosted here"), adapters.slice(2):
        pass
