"""HD-PiSSA, LoRA, PiSSA and full fine-tuning behind one interface, against plain implementations and each other."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import Tensor, nn

from tests.helpers import plain_hd_pissa as plain
from tests.helpers.odd_modules import Attention, Tied
from tests.helpers.tuning import (
    METHODS,
    make_token_batches,
    make_token_network,
    moves,
    relative_error,
    settings,
    tune,
    weights,
)
from watchline.adapters.tuner import build_tuner

WEIGHTS = ["1.weight", "3.weight", "5.weight"]  # of the linear maps of the token network


@pytest.mark.parametrize("others", ["frozen", "data_parallel"])
@pytest.mark.parametrize("method", METHODS)
def test_a_finished_module_is_plain_again_with_the_weights_it_amounted_to(method: str, others: str) -> None:
    network = make_token_network()
    network[5].bias.requires_grad_(False)
    network[3].weight.requires_grad_(False)
    before, attributes = copy.deepcopy(network.state_dict()), set(vars(network))
    flags = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    types = [type(module) for module in network.modules()]
    tuner = build_tuner(network, settings(method, others=others))
    tune(network, tuner, make_token_batches(3, 4))
    amounted = tuner.weights()
    tuner.finish()
    after = network.state_dict()
    assert [type(module) for module in network.modules()] == types
    assert set(vars(network)) == attributes
    assert {name: value.shape for name, value in after.items()} == {name: value.shape for name, value in before.items()}
    assert {name: parameter.requires_grad for name, parameter in network.named_parameters()} == flags
    assert sorted(amounted) == ["1", "3", "5"]
    assert all(torch.equal(after[f"{name}.weight"], weight) for name, weight in amounted.items())
    assert all(not torch.equal(after[name], before[name]) for name in WEIGHTS)
    # Training goes on as if nothing had been: every gradient is where autograd puts it.
    tokens, target = make_token_batches(1, 1)[0][0]
    plain.squared_error(network(tokens), target).backward()
    assert {name: parameter.grad is not None for name, parameter in network.named_parameters()} == flags


@pytest.mark.parametrize("method", METHODS)
def test_all_but_the_targets_is_frozen_or_trained_as_others_says(method: str) -> None:
    for others in ("frozen", "data_parallel"):
        network = make_token_network()
        before = copy.deepcopy(network.state_dict())
        tuner = build_tuner(network, settings(method, others=others))
        tune(network, tuner, make_token_batches(2, 4))
        tuner.finish()
        moved = [name for name, value in network.state_dict().items() if not torch.equal(value, before[name])]
        assert moved == [name for name in before if others == "data_parallel" or name in WEIGHTS]


@pytest.mark.parametrize("method", METHODS)
def test_what_was_frozen_by_the_caller_stays_so_beside_the_targets(method: str) -> None:
    network = make_token_network()
    network[0].weight.requires_grad_(False)
    before = network[0].weight.detach().clone()
    tuner = build_tuner(network, settings(method, others="data_parallel"))
    tune(network, tuner, make_token_batches(2, 4))
    assert torch.equal(network[0].weight, before)


@pytest.mark.parametrize("method", METHODS)
def test_one_target_is_the_only_one_that_moves(method: str) -> None:
    network = make_token_network()
    before = copy.deepcopy(network.state_dict())
    tuner = build_tuner(network, settings(method, targets=("3",)))
    tune(network, tuner, make_token_batches(2, 4))
    assert tuner.rank("3") == (16 if method == "full" else 2)
    tuner.finish()
    moved = [name for name, value in network.state_dict().items() if not torch.equal(value, before[name])]
    assert moved == ["3.weight"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("others", ["frozen", "data_parallel"])
@pytest.mark.parametrize("method", METHODS)
def test_resuming_is_bitwise(method: str, others: str, dtype: torch.dtype) -> None:
    batches, ends = make_token_batches(4, 4, dtype), []
    straight = make_token_network(dtype)
    tuner = build_tuner(straight, settings(method, others=others), seed=5)
    tune(straight, tuner, batches[:2])
    tensors, state = tuner.tensors(), copy.deepcopy(tuner.state_dict())
    facts = json.loads(json.dumps(state["facts"]))
    tune(straight, tuner, batches[2:])  # what was saved is copies
    ends.append(tuner)

    resumed = make_token_network(dtype)
    tuner = build_tuner(resumed, settings(method, others=others), seed=5)
    tuner.load_tensors(tensors)
    tuner.load_state_dict({"tensors": state["tensors"], "facts": facts})
    tune(resumed, tuner, batches[2:])
    ends.append(tuner)
    assert tensors.keys() == ends[0].trained().keys()
    for one, other in (
        [tuner.tensors() for tuner in ends],
        [tuner.state_dict()["tensors"] for tuner in ends],
        [tuner.weights() for tuner in ends],
    ):
        assert one.keys() == other.keys()
        assert [name for name in one if not torch.equal(one[name], other[name])] == []
    for tuner in ends:
        tuner.finish()
    assert all(torch.equal(value, straight.state_dict()[name]) for name, value in resumed.state_dict().items())


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_full_is_adamw_on_the_mean_loss_of_all_shards(weight_decay: float) -> None:
    batches, found, expected = plain.make_batches(4, 4), plain.make_network(), plain.make_network()
    tuner = build_tuner(found, settings("full", others="data_parallel", weight_decay=weight_decay))
    tune(found, tuner, batches)
    adam = torch.optim.AdamW(expected.parameters(), lr=1e-3, weight_decay=weight_decay)
    for shards in batches:
        adam.zero_grad()
        torch.stack([plain.squared_error(expected(x), target) for x, target in shards]).mean().backward()
        adam.step()
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("rank", "alpha"), [(2, None), (2, 4.0), (4, 1.0)])
def test_lora_is_adamw_on_two_factors_beside_the_weight(rank: int, alpha: float | None) -> None:
    batches, network = plain.make_batches(4, 4), plain.make_network()
    before, layers = weights(network), copy.deepcopy(plain.linears(network))
    tuner = build_tuner(network, settings("lora", rank=rank, alpha=alpha))
    leaves = list(tuner.tensors().values())
    downs, ups = leaves[::2], leaves[1::2]
    assert [a.shape for a in downs] == [(rank, layer.in_features) for layer in layers]
    assert all(float(b.abs().max()) == 0 and float(a.abs().min()) > 0 for a, b in zip(downs, ups, strict=True))
    tune(network, tuner, batches)

    scale = 1.0 if alpha is None else alpha / rank
    adam = torch.optim.AdamW([leaf.requires_grad_() for leaf in leaves], lr=1e-3, weight_decay=0.0)
    for shards in batches:
        adam.zero_grad()
        for x, target in shards:
            hidden = x
            for i, layer in enumerate(layers):
                bias = None if layer.bias is None else layer.bias.detach()
                hidden = nn.functional.linear(hidden, before[i] + scale * ups[i] @ downs[i], bias)
                hidden = torch.tanh(hidden) if i < 2 else hidden
            (plain.squared_error(hidden, target) / len(shards)).backward()
        adam.step()
    expected = [scale * (b @ a).detach() for a, b in zip(downs, ups, strict=True)]
    assert relative_error(moves(tuner.weights().values(), before), expected) < 1e-6
    assert min(float(delta.norm()) for delta in expected) > 0


def test_one_slice_and_one_step_is_the_pissa_of_peft() -> None:
    batches, found = plain.make_batches(1, 1, torch.float32), []
    for method in ("hd_pissa", "pissa"):
        network = plain.make_network(dtype=torch.float32)
        before = [weight.double() for weight in weights(network)]
        tuner = build_tuner(network, settings(method, rank=3, num_slices=1))
        tune(network, tuner, batches)
        found.append(moves([weight.double() for weight in tuner.weights().values()], before))
    assert relative_error(found[0], found[1]) < 1e-3


def test_pissa_begins_with_the_weights_as_they_are_and_moves_the_largest_triples() -> None:
    network = plain.make_network(dtype=torch.float32)
    before = weights(network)
    tuner = build_tuner(network, settings("pissa", rank=3))
    assert relative_error(tuner.weights().values(), before) < 1e-6
    factors = list(tuner.tensors().values())
    for weight, down, up in zip(before, factors[::2], factors[1::2], strict=True):
        u, s, vt = torch.linalg.svd(weight.double())
        torch.testing.assert_close((up @ down).double(), u[:, :3] * s[:3] @ vt[:3], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("method", "extra"), [("lora", {}), ("pissa", {"pissa_iterations": 4})])
def test_the_start_depends_on_the_seed_alone_and_leaves_the_random_state(method: str, extra: dict[str, int]) -> None:
    starts: list[dict[str, Tensor]] = []
    for global_seed, seed in ((1, 5), (2, 5), (1, 6)):
        network = make_token_network()
        torch.manual_seed(global_seed)
        expected = torch.rand(4)
        torch.manual_seed(global_seed)
        starts.append(build_tuner(network, settings(method, **extra), seed=seed).tensors())
        assert torch.equal(torch.rand(4), expected)
    assert all(torch.equal(value, starts[1][name]) for name, value in starts[0].items())
    assert not all(torch.equal(value, starts[2][name]) for name, value in starts[0].items())


@pytest.mark.parametrize("method", ["lora", "pissa"])
def test_more_rank_than_a_weight_has_raises_naming_the_weights(method: str) -> None:
    with pytest.raises(ValueError, match=r"rank=17 exceeds the smaller side of 0 \(20 x 12\), 2 \(16 x 20\), 4 \(24 x"):
        build_tuner(plain.make_network(), settings(method, rank=17))
    with pytest.raises(ValueError, match=r"rank=13 exceeds the smaller side of 0 \(20 x 12\); lower rank"):
        build_tuner(plain.make_network(), settings(method, rank=13))


@pytest.mark.parametrize("method", ["lora", "pissa"])
def test_a_namesake_of_a_target_that_is_no_linear_map_is_left_alone(method: str) -> None:
    """The targets are `proj` and `deep.linear`; `deep.proj` ends alike and is something else."""

    class Twin(nn.Module):
        def __init__(self, other: nn.Module) -> None:
            super().__init__()
            self.proj, self.deep = nn.Linear(8, 8), nn.ModuleDict({"proj": other, "linear": nn.Linear(8, 8)})

    for other in (nn.Embedding(4, 8), nn.LayerNorm(8), nn.Conv2d(2, 2, 3)):
        module = Twin(other)
        tuner = build_tuner(module, settings(method))
        assert module.deep["proj"] is other
        assert sorted(tuner.weights()) == ["deep.linear", "proj"]
        tuner.finish()
        assert (type(module.proj), module.deep["proj"]) == (nn.Linear, other)


def test_one_method_after_another_on_the_same_module() -> None:
    network = make_token_network()
    for method, rank in (("lora", 2), ("pissa", 3), ("hd_pissa", 2), ("full", None), ("lora", 4)):
        before = weights(network)
        tuner = build_tuner(network, settings(method, **({"rank": rank} if rank else {})))
        assert tuner.rank("1") == (rank or 12)
        tune(network, tuner, make_token_batches(2, 4))
        tuner.finish()
        assert all(not torch.equal(a, b) for a, b in zip(weights(network), before, strict=True))


def test_full_moves_one_weight_of_two_linear_maps_by_the_sum_of_their_gradients() -> None:
    found = nn.Sequential(nn.Linear(12, 12, bias=False), nn.Tanh(), nn.Linear(12, 12, bias=False)).double()
    found[2].weight = found[0].weight
    expected = copy.deepcopy(found)
    tuner = build_tuner(found, settings("full", num_slices=1))
    adam = torch.optim.AdamW(expected.parameters(), lr=1e-3, weight_decay=0.0)
    for shards in plain.make_batches(3, 1):
        x = shards[0][0]
        found(x).square().mean().backward()
        tuner.step(1e-3)
        adam.zero_grad()
        expected(x).square().mean().backward()
        adam.step()
    torch.testing.assert_close(found[0].weight, expected[0].weight, rtol=1e-11, atol=1e-12)
    assert found[2].weight is found[0].weight
    assert sorted(tuner.weights()) == ["0", "2"]


def _half() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8)).half()


REFUSED = [
    (Attention, "separate q, k, v, o nn.Linear"),
    (Tied, r"tied \(embedding.weight, head.weight\)"),
    (_half, "load the model in bfloat16 or float32"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=["multihead", "tied", "float16"])
def test_what_no_adapter_can_take_is_refused_by_all_and_trained_by_full(make: type[nn.Module], message: str) -> None:
    for method in ("hd_pissa", "lora", "pissa"):
        with pytest.raises(ValueError, match=message):
            build_tuner(make(), settings(method, num_slices=2))
    module = make()
    tuner = build_tuner(module, settings("full", num_slices=2))
    before = tuner.weights()
    for j in range(2):
        with tuner.slice(j):
            module(torch.randn(3, 8).to(next(module.parameters()).dtype)).square().mean().backward()
    tuner.step(1e-2)
    assert all(not torch.equal(weight, before[name]) for name, weight in tuner.weights().items())


@pytest.mark.parametrize("method", ["hd_pissa", "lora", "pissa"])
def test_a_quantised_weight_is_refused(method: str) -> None:
    module = nn.Sequential(nn.Linear(8, 8))
    module[0].weight = nn.Parameter(torch.ones(8, 8, dtype=torch.int8), requires_grad=False)
    with pytest.raises(ValueError, match=r"0: the weight is quantised \(torch.int8\)"):
        build_tuner(module, settings(method, num_slices=2))


@pytest.mark.parametrize("method", METHODS)
def test_an_unfed_shard_is_an_error(method: str) -> None:
    network = make_token_network()
    tuner = build_tuner(network, settings(method))
    tokens, target = make_token_batches(1, 1)[0][0]
    with tuner.slice(1):
        plain.squared_error(network(tokens), target).backward()
    with pytest.raises(RuntimeError, match=r"slices \[0, 2, 3\] saw no backward pass"):
        tuner.step(1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_small_steps_reach_bfloat16_parameters(method: str) -> None:
    """The largest step is a small part of the last bit of most numbers, and yet what is trained moves as float32's."""
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        network = make_token_network(torch.bfloat16).to(dtype)
        tuner = build_tuner(network, settings(method), seed=5)
        before = {name: tensor.double() for name, tensor in tuner.tensors().items()}
        tune(network, tuner, make_token_batches(1, 4, dtype) * 50, lr=2e-5)
        held = tuner.state_dict()["tensors"]
        after = {name: held.get(f"{name}/master", value) for name, value in tuner.tensors().items()}
        after |= {name: held.get(f"master/{name.removesuffix('.weight')}", value) for name, value in after.items()}
        found.append({name: after[name].double() - before[name] for name in before})
    expected, moved = (torch.cat([delta.flatten() for delta in deltas.values()]) for deltas in found)
    assert 0.9 < float((expected * moved).sum() / expected.square().sum()) < 1.1  # gradients differ by bfloat16's bits
