"""HD-PiSSA against its formulas, its identities and the traps of earlier code."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from tests.helpers import plain_hd_pissa as plain
from tests.helpers.tuning import config, feed, moves, relative_error, weights
from watchline.adapters.hd_pissa import HDPiSSAConfig, SlicedLinear, deal_by_cost, inject, remove
from watchline.adapters.optimizer import HDPiSSAOptimizer

LRS = [1e-3, 2e-3, 3e-3, 2e-3, 1e-3]


def train(
    network: nn.Sequential, settings: HDPiSSAConfig, batches: list[list[plain.Batch]], lrs: list[float], **feeding: int
) -> list[Tensor]:
    """Delta W of each weight after a step per batch."""
    before = weights(network)
    adapters = inject(network, settings)
    optimizer = HDPiSSAOptimizer(adapters, lr=0.0)
    for shards, optimizer.lr in zip(batches, lrs, strict=True):
        feed(network, adapters, shards, **feeding)
        optimizer.step()
    return moves(weights(network), before)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
@pytest.mark.parametrize("bases", ["eigh", "svd"])
@pytest.mark.parametrize("alpha", [None, 1.0])
def test_five_steps_equal_the_plain_implementation(
    dtype: torch.dtype, tolerance: float, bases: str, alpha: float | None
) -> None:
    batches = plain.make_batches(5, 4, dtype)
    expected_network = plain.make_network(dtype=dtype)
    before = weights(expected_network)
    plain.train(expected_network, batches, rank=2, lrs=LRS, scale=1.0 if alpha is None else alpha / 2)
    found = train(plain.make_network(dtype=dtype), config(bases=bases, alpha=alpha), batches, LRS)
    assert relative_error(found, moves(weights(expected_network), before)) < tolerance


@pytest.mark.parametrize("num_slices", [1, 2, 4, 8])
def test_one_step_has_rank_two_r_k(num_slices: int) -> None:
    for rank in (1, 12 // num_slices):
        found = train(plain.make_network(), config(rank, num_slices), plain.make_batches(1, num_slices), [1e-3])
        for delta in found:
            assert int(torch.linalg.matrix_rank(delta, atol=1e-12, rtol=0.0)) == min(
                2 * rank * num_slices, *delta.shape
            )


def test_slices_are_orthogonal_and_the_best_approximation_of_the_weight() -> None:
    network = plain.make_network()
    before = weights(network)
    adapters = inject(network, config(2, 4))
    for layer, weight in zip(adapters.layers, before, strict=True):
        a_Rn, bt_Rm = layer.stack(adapters.bases)
        for basis in (a_Rn, bt_Rm):
            gram = basis @ basis.T
            torch.testing.assert_close(gram, torch.diag(gram.diagonal()), atol=1e-12, rtol=0)
        u, s, vt = torch.linalg.svd(weight)
        torch.testing.assert_close(bt_Rm.T @ a_Rn, u[:, :8] * s[:8] @ vt[:8], atol=1e-12, rtol=0)


def test_one_slice_and_one_step_is_pissa() -> None:
    """PiSSA: train A and B of W = W_rest + B A with Adam, then merge."""
    (x, target), lr, rank = plain.make_batches(1, 1)[0][0], 1e-3, 3
    network = plain.make_network()
    before, leaves, frozen = weights(network), [], []
    for weight in before:
        a, b = (f.requires_grad_() for f in plain.factors(weight, rank, 1)[0])
        leaves += [a, b]
        frozen.append(weight - (b @ a).detach())
    hidden = x
    for i, layer in enumerate(plain.linears(network)):
        hidden = nn.functional.linear(hidden, frozen[i] + leaves[2 * i + 1] @ leaves[2 * i], layer.bias)
        hidden = torch.tanh(hidden) if i < 2 else hidden
    adam = torch.optim.Adam(leaves, lr=lr)
    plain.squared_error(hidden, target).backward()
    adam.step()
    merged = [frozen[i] + (leaves[2 * i + 1] @ leaves[2 * i]).detach() for i in range(3)]
    found = train(network, config(rank, 1), [[(x, target)]], [lr])
    assert relative_error(found, moves(merged, before)) < 1e-9


def test_the_same_rows_on_every_slice_equal_one_slice_of_all_ranks() -> None:
    shared = [shards[:1] for shards in plain.make_batches(3, 1)]
    many = train(plain.make_network(), config(2, 4), [shards * 4 for shards in shared], LRS[:3])
    one = train(plain.make_network(), config(8, 1), shared, LRS[:3])
    assert relative_error(many, one) < 1e-10


@pytest.mark.parametrize("alpha", [None, 1.0])
def test_five_steps_on_averaged_gradients_equal_the_plain_implementation(alpha: float | None) -> None:
    batches, network = plain.make_batches(5, 4), plain.make_network()
    before = weights(network)
    plain.train(network, batches, rank=2, lrs=LRS, scale=1.0 if alpha is None else alpha / 2, mean=True)
    found = train(plain.make_network(), config(reduce="mean", alpha=alpha), batches, LRS)
    assert relative_error(found, moves(weights(network), before)) < 1e-6


def test_averaged_slices_equal_one_slice_of_all_ranks_on_the_mean_of_the_losses() -> None:
    batches = plain.make_batches(5, 4)
    many = train(plain.make_network(), config(2, 4, reduce="mean"), batches, LRS)
    whole = [[(torch.cat([x for x, _ in shards]), torch.cat([y for _, y in shards]))] for shards in batches]
    one = train(plain.make_network(), config(8, 1), whole, LRS)
    assert relative_error(many, one) < 1e-9
    assert relative_error(many, train(plain.make_network(), config(2, 4), batches, LRS)) > 0.1


@pytest.mark.parametrize("reduce", ["local", "mean"])
def test_bfloat16_messages_round_the_steps_on_one_process_too(reduce: str) -> None:
    """A step is rounded to eight bits, and the weights no more than that."""
    batches = plain.make_batches(3, 4, torch.float32)
    native, rounded = (
        train(plain.make_network(dtype=torch.float32), config(reduce=reduce, comm_dtype=x), batches, LRS[:3])
        for x in ("native", "bfloat16")
    )
    assert 5e-4 < relative_error(rounded, native) < 1e-2


def test_four_micro_batches_equal_one_batch() -> None:
    batches = plain.make_batches(3, 2)
    whole = train(plain.make_network(), config(2, 2), batches, LRS[:3])
    parts = train(plain.make_network(), config(2, 2), batches, LRS[:3], accumulation=4)
    assert relative_error(parts, whole) < 1e-7


def test_no_alpha_silences_the_gradients() -> None:
    batches = plain.make_batches(1, 4)
    unit = train(plain.make_network(), config(2, 4), batches, [1e-3])
    for alpha in (1e-3, 1.0, 64.0):
        found = train(plain.make_network(), config(2, 4, alpha=alpha), batches, [1e-3])
        assert relative_error([delta * (2 / alpha) for delta in found], unit) < 0.1  # Adam's eps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_forward_pass_is_the_plain_linear_map_bit_for_bit(dtype: torch.dtype) -> None:
    x = plain.make_batches(1, 1, dtype)[0][0][0]
    network = plain.make_network(dtype=dtype)
    expected = network(x)
    adapters = inject(network, config(2, 4))
    with adapters.slice(0):
        assert torch.equal(network(x), expected)
    with torch.no_grad():
        assert torch.equal(network(x), expected)


def test_input_and_bias_gradients_are_those_of_the_plain_layer() -> None:
    x, target = plain.make_batches(1, 1)[0][0]
    plain_network, network = plain.make_network(), plain.make_network()
    inject(network, config(2, 1))
    network[0].bias.requires_grad_(True)
    xs = [x.clone().requires_grad_() for _ in range(2)]
    for model, leaf in zip((plain_network, network), xs, strict=True):
        plain.squared_error(model(leaf), target).backward()
    torch.testing.assert_close(xs[1].grad, xs[0].grad, rtol=1e-12, atol=0)
    torch.testing.assert_close(network[0].bias.grad, plain_network[0].bias.grad, rtol=1e-12, atol=0)


def test_no_tensor_of_the_weights_shape_is_made_by_a_backward_pass() -> None:
    network = nn.Sequential(nn.Linear(96, 80, bias=False), nn.Linear(80, 96, bias=False))
    adapters = inject(network, config(2, 2))
    largest = [0]

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = func(*args, **(kwargs or {}))
            storages = {a.untyped_storage().data_ptr() for a in args if isinstance(a, Tensor)}
            if isinstance(result, Tensor) and result.untyped_storage().data_ptr() not in storages:
                largest[0] = max(largest[0], result.numel())
            return result

    with adapters.slice(1):
        loss = network(torch.randn(3, 96)).square().mean()
    with Watch():
        loss.backward()
    assert 0 < largest[0] < 80 * 96
    assert all(layer.weight.grad is None for layer in network)


def test_lowrank_bases_approximate_the_exact_ones_and_leave_the_random_state_alone() -> None:
    exact = inject(plain.make_network(), config(2, 2))
    network = plain.make_network()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    sketched = inject(network, config(2, 2, bases="lowrank", lowrank_iterations=8))
    assert torch.equal(torch.rand(4), expected)
    torch.testing.assert_close(sketched.bases, exact.bases, rtol=0, atol=1e-3)


def test_a_singular_weight_has_finite_bases() -> None:
    network = nn.Sequential(nn.Linear(8, 6, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.outer(torch.arange(6.0), torch.ones(8)))
    adapters = inject(network, config(3, 2))
    assert bool(adapters.bases.isfinite().all())


def test_only_the_targets_move_and_the_rest_is_frozen() -> None:
    network = plain.make_network()
    before = copy.deepcopy(network.state_dict())
    settings = HDPiSSAConfig(rank=2, num_slices=2, targets=("2",))
    adapters = inject(network, settings)
    optimizer = HDPiSSAOptimizer(adapters, lr=1e-3)
    feed(network, adapters, plain.make_batches(1, 2)[0])
    optimizer.step()
    moved = [name for name, value in network.state_dict().items() if not torch.equal(value, before[name])]
    assert moved == ["2.weight"]
    remove(network)
    assert not any(isinstance(layer, SlicedLinear) for layer in network)


def test_a_frozen_input_does_not_hide_the_first_layer() -> None:
    """Nothing below the first layer needs a gradient, and its slice is fed all the same."""
    network = plain.make_network()
    adapters = inject(network, config(2, 1))
    feed(network, adapters, plain.make_batches(1, 1)[0])
    first = adapters.layers[0]
    assert float(adapters.gradients[0, first.start : first.stop].norm()) > 0


def test_removing_gives_back_the_plain_trainable_layers() -> None:
    network = plain.make_network()
    network[4].bias.requires_grad_(False)
    inject(network, config(2, 2))
    remove(network)
    assert [type(layer) for layer in plain.linears(network)] == [nn.Linear] * 3
    assert [name for name, parameter in network.named_parameters() if not parameter.requires_grad] == ["4.bias"]


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_captures_the_same_gradients(reentrant: bool) -> None:
    x, target = plain.make_batches(1, 1)[0][0]
    captured = []
    for checkpointed in (False, True):
        network = plain.make_network()
        adapters = inject(network, config(2, 2))
        leaf = x.clone().requires_grad_()
        with adapters.slice(1):
            if checkpointed:
                output = torch.utils.checkpoint.checkpoint(network, leaf, use_reentrant=reentrant)
            else:
                output = network(leaf)
            plain.squared_error(output, target).backward()
        captured.append(adapters.gradients)
    assert torch.equal(captured[0], captured[1])
    assert float(captured[0][1].norm()) > 0


def test_autocast_captures_the_gradients_to_its_precision() -> None:
    x, target = plain.make_batches(1, 1, torch.float32)[0][0]
    captured = []
    for enabled in (False, True):
        network = plain.make_network(dtype=torch.float32)
        adapters = inject(network, config(2, 1))
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = plain.squared_error(network(x).float(), target)
        loss.backward()
        captured.append(adapters.gradients)
    assert captured[1].dtype == torch.float32
    assert float((captured[1] - captured[0]).norm() / captured[0].norm()) < 0.05


@pytest.mark.parametrize("num_processes", [1, 2, 4, 8])
def test_every_weight_is_dealt_once_and_no_process_gets_much_more_than_its_part(num_processes: int) -> None:
    costs = [9, 1, 9, 1, 8, 1, 8, 1, 7, 1]  # turn by turn, half of the processes would get all the dear ones
    dealt = deal_by_cost(costs, num_processes)
    assert len(dealt) == num_processes
    assert sorted(index for indices in dealt for index in indices) == list(range(len(costs)))
    loads = [sum(costs[i] for i in indices) for indices in dealt]
    # The bound of the greedy rule: an even part, or one weight alone, by at most 4/3.
    assert max(loads) <= 4 / 3 * max(*costs, sum(costs) / num_processes)


def test_the_flat_buffers_hold_every_weight_once_and_apart() -> None:
    layers = inject(plain.make_network(), config(2, 4)).layers
    assert [(layer.start, layer.stop) for layer in layers] == [(0, 64), (64, 136), (136, 216)]
    flat_KP = torch.arange(4.0 * 216).view(4, 216)
    for layer in layers:
        a_Rn, bt_Rm = layer.stack(flat_KP)
        for j in range(4):
            a_rn, bt_rm = layer.split(flat_KP[j])
            assert torch.equal(a_Rn[2 * j : 2 * j + 2], a_rn)
            assert torch.equal(bt_Rm[2 * j : 2 * j + 2], bt_rm)
            assert torch.equal(torch.cat((a_rn.flatten(), bt_rm.flatten())), flat_KP[j, layer.start : layer.stop])
