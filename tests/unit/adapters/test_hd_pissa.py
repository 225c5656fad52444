"""HD-PiSSA against its formulas, its identities and the traps of earlier code."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from tests.helpers import plain_hd_pissa as plain
from watchline.adapters.hd_pissa import Adapters, HDPiSSAConfig, SlicedLinear, inject, remove
from watchline.adapters.optimizer import HDPiSSAOptimizer, learning_rate

LRS = [1e-3, 2e-3, 3e-3, 2e-3, 1e-3]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def config(rank: int = 2, num_slices: int = 4, **others: object) -> HDPiSSAConfig:
    return HDPiSSAConfig(rank=rank, num_slices=num_slices, targets=("*",), **others)  # type: ignore[arg-type]


def weights(network: nn.Sequential) -> list[Tensor]:
    return [layer.weight.detach().clone() for layer in plain.linears(network)]


def moves(after: list[Tensor], before: list[Tensor]) -> list[Tensor]:
    return [a - b for a, b in zip(after, before, strict=True)]


def relative_error(found: list[Tensor], expected: list[Tensor]) -> float:
    return max(float((f - e).norm() / e.norm()) for f, e in zip(found, expected, strict=True))


def feed(network: nn.Module, adapters: Adapters, shards: list[plain.Batch], accumulation: int = 1) -> None:
    for j in adapters.hosted_slices:
        x, target = shards[j]
        with adapters.slice(j):
            for part_x, part_target in zip(x.chunk(accumulation), target.chunk(accumulation), strict=True):
                (plain.squared_error(network(part_x), part_target) / accumulation).backward()


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


def test_resuming_is_bitwise() -> None:
    batches = plain.make_batches(5, 4, torch.float32)
    straight = plain.make_network(dtype=torch.float32)
    train(straight, config(), batches, LRS)

    first = plain.make_network(dtype=torch.float32)
    adapters = inject(first, config())
    optimizer = HDPiSSAOptimizer(adapters, lr=0.0)
    for shards, optimizer.lr in zip(batches[:2], LRS[:2], strict=True):
        feed(first, adapters, shards)
        optimizer.step()
    saved_weights, saved_state = copy.deepcopy(first.state_dict()), optimizer.state_dict()

    second = plain.make_network(seed=7, dtype=torch.float32)
    second.load_state_dict(saved_weights)
    adapters = inject(second, config())
    optimizer = HDPiSSAOptimizer(adapters, lr=0.0)
    optimizer.load_state_dict(saved_state)
    for shards, optimizer.lr in zip(batches[2:], LRS[2:], strict=True):
        feed(second, adapters, shards)
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(weights(second), weights(straight), strict=True))


def test_a_state_without_bases_or_of_another_layout_is_refused() -> None:
    optimizer = HDPiSSAOptimizer(inject(plain.make_network(), config()), lr=1e-3)
    state = optimizer.state_dict()
    with pytest.raises(ValueError, match="lacks bases"):
        optimizer.load_state_dict({key: value for key, value in state.items() if key != "bases"})
    other = HDPiSSAOptimizer(inject(plain.make_network(), config(rank=1)), lr=1e-3)
    with pytest.raises(ValueError, match="other layers, slices or ranks"):
        other.load_state_dict(state)


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


@pytest.mark.parametrize("decay", ["constant", "linear", "cosine"])
@pytest.mark.parametrize(("total", "share"), [(1, 0.0), (1, 1.0), (3, 0.03), (100, 0.03), (100, 0.5), (10, 1.0)])
def test_no_step_has_learning_rate_zero(decay: str, total: int, share: float) -> None:
    rates = [learning_rate(step, total, 2e-5, share, decay) for step in range(total)]  # type: ignore[arg-type]
    assert min(rates) > 0
    assert max(rates) <= 2e-5


def test_more_rank_than_the_weight_has_raises_naming_the_weight() -> None:
    with pytest.raises(ValueError, match=r"4 \* 4 = 16 exceeds the smaller side of 0 \(20 x 12\)"):
        inject(plain.make_network(), config(4, 4))


def test_clamping_lowers_the_rank_of_that_weight_alone_and_warns() -> None:
    with pytest.warns(UserWarning, match="0 to 3"):
        adapters = inject(plain.make_network(), config(4, 4, over_rank="clamp"))
    assert [layer.rank for layer in adapters.layers] == [3, 4, 4]


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


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 8)
        self.head = nn.Linear(8, 12, bias=False)
        self.head.weight = self.embedding.weight


class _Wrapped(nn.Linear):
    pass


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (_Attention(), "separate q, k, v, o nn.Linear"),
        (_Tied(), r"tied \(embedding.weight, head.weight\).*untie it"),
        (nn.Sequential(_Wrapped(8, 8)), "a _Wrapped, not a plain nn.Linear"),
        (nn.Sequential(nn.Linear(8, 8)).half(), "load the model in bfloat16 or float32"),
        (nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8).double()), "of several kinds"),
        (nn.Sequential(nn.Embedding(4, 4)), "nn.Linear modules are none"),
    ],
    ids=["multihead", "tied", "subclass", "float16", "mixed", "nothing"],
)
def test_what_cannot_be_adapted_raises_and_says_what_to_do(network: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inject(network, config(1, 2))


def test_a_pattern_that_matches_nothing_raises_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match=r"target 'q_proj': it matches no module; the nn.Linear modules are 0, 2, 4"):
        inject(plain.make_network(), HDPiSSAConfig(rank=1, num_slices=1, targets=("*", "q_proj")))


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
