"""Which linear maps are adapted, which are refused, and what the refusal says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.helpers import plain_hd_pissa as plain
from tests.helpers.odd_modules import Attention, Tied
from tests.helpers.tuning import config
from watchline.adapters.hd_pissa import HDPiSSAConfig, inject
from watchline.adapters.targets import linears_matching, select_linears


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.out = nn.Linear(4, 4), nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)


def make_blocks() -> nn.Module:
    return nn.ModuleDict({"layers": nn.ModuleList([Block(), Block()]), "out": nn.Linear(4, 4)})


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["q_proj"], ["layers.0.q_proj", "layers.1.q_proj"]),
        (["out"], ["layers.0.out", "layers.1.out", "out"]),
        (["layers.1.*"], ["layers.1.q_proj", "layers.1.out"]),
        (["out", "0.q_proj"], ["layers.0.q_proj", "layers.0.out", "layers.1.out", "out"]),
        (["*"], ["layers.0.q_proj", "layers.0.out", "layers.1.q_proj", "layers.1.out", "out"]),
    ],
)
def test_a_glob_takes_linear_maps_by_their_name_or_the_end_of_it_in_the_order_of_the_module(
    patterns: list[str], names: list[str]
) -> None:
    module = make_blocks()
    for chosen in (select_linears(module, patterns), linears_matching(module, patterns)):
        assert list(chosen) == names
        assert all(linear is module.get_submodule(name) for name, linear in chosen.items())


def test_a_glob_ends_at_a_dot() -> None:
    with pytest.raises(ValueError, match="target 'proj': it matches no module"):
        select_linears(make_blocks(), ["proj"])
    with pytest.raises(ValueError, match=r"it matches only layers.0.norm \(LayerNorm\), layers.1.norm \(LayerNorm\)"):
        select_linears(make_blocks(), ["norm"])


class _Quantised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 8)
        self.head.weight = nn.Parameter(torch.ones(8, 8, dtype=torch.int8), requires_grad=False)


class _Wrapped(nn.Linear):
    pass


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Attention(), "separate q, k, v, o nn.Linear"),
        (_Quantised(), r"head: the weight is quantised \(torch.int8\); load the model unquantised"),
        (Tied(), r"tied \(embedding.weight, head.weight\).*untie it"),
        (nn.Sequential(_Wrapped(8, 8)), "a _Wrapped, not a plain nn.Linear"),
        (nn.Sequential(nn.Linear(8, 8)).half(), "load the model in bfloat16 or float32"),
        (nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8).double()), "of several kinds"),
        (nn.Sequential(nn.Embedding(4, 4)), "nn.Linear modules are none"),
    ],
    ids=["multihead", "quantised", "tied", "subclass", "float16", "mixed", "nothing"],
)
def test_what_cannot_be_adapted_raises_and_says_what_to_do(network: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inject(network, config(1, 2))


def test_a_pattern_that_matches_nothing_raises_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match=r"target 'q_proj': it matches no module; the nn.Linear modules are 0, 2, 4"):
        inject(plain.make_network(), HDPiSSAConfig(rank=1, num_slices=1, targets=("*", "q_proj")))


def test_more_rank_than_the_weight_has_raises_naming_the_weight() -> None:
    with pytest.raises(ValueError, match=r"4 \* 4 = 16 exceeds the smaller side of 0 \(20 x 12\)"):
        inject(plain.make_network(), config(4, 4))


def test_clamping_lowers_the_rank_of_that_weight_alone_and_warns() -> None:
    with pytest.warns(UserWarning, match="0 to 3"):
        adapters = inject(plain.make_network(), config(4, 4, over_rank="clamp"))
    assert [layer.rank for layer in adapters.layers] == [3, 4, 4]
