"""Decoding: one walk down the tree of sequences that visits each prefix once, whatever is asked for.

Quantiles and the likeliest sequence are paths, expectations split the tree where it matters. Prefixes under way are
nodes; a node is computed once for all that pass through it, from the keys and values cached for its own prefix, and
leaves the batch as soon as nothing does.
"""

# B rows, N nodes, C classes, K = N C possible children, E expectations, W walkers

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from watchline.codec import START, Vocabulary
from watchline.models.gr.config import GRConfig
from watchline.models.gr.decoder import Decoder
from watchline.models.gr.expectations import Expectations
from watchline.models.gr.label_law import LabelLaw
from watchline.models.gr.state import Stepper
from watchline.models.gr.statistics import Request
from watchline.models.gr.walks import LikeliestWalks, QuantileWalks


@dataclass
class Nodes:
    """Row of the batch, automaton state, units so far, and mass still to split per expectation (0: none)."""

    row_N: Tensor
    state_N: Tensor
    prefix_N: Tensor
    mass_EN: Tensor | None
    class_N: Tensor | None = None


class Tables:
    """The vocabulary as tensors of one device."""

    def __init__(self, vocabulary: Vocabulary, device: torch.device) -> None:
        self.next_SC = torch.from_numpy(vocabulary.legal.next_SC).to(device)
        self.goes_on_SC = torch.from_numpy(vocabulary.legal.goes_on_SC).to(device)
        self.class_value_C = torch.from_numpy(vocabulary.class_values).to(device)


def decode_rows(
    decoder: Decoder, vocabulary: Vocabulary, law: LabelLaw, config: GRConfig, memory_BD: Tensor, request: Request
) -> dict[str, Tensor]:
    """Everything requested, for rows with memory vectors (B, D): float64 (B,) by name, quantiles as `quantile:LEVEL`.

    Seconds, but for expected_rank (0 to 1) and mean_log (log1p of seconds).
    """
    device = memory_BD.device
    row_B = torch.arange(len(memory_BD), device=device)
    tables = Tables(vocabulary, device)
    quantiles = QuantileWalks(request.levels, row_B)
    likeliest = LikeliestWalks(row_B, request.paths, config.window, config.window_renormalised, tables.class_value_C)
    expectations = Expectations(
        request.expectations, row_B, vocabulary, law, config.mean_tolerance_s, config.rank_tolerance
    )
    stepper = Stepper(decoder, memory_BD)
    zeros_B = torch.zeros_like(row_B)
    mass_EB = expectations.start(len(row_B), device) if request.expectations else None
    nodes = Nodes(row_B, zeros_B + START, zeros_B, mass_EB)
    while len(nodes.row_N):
        nodes = _advance(stepper, nodes, (quantiles, likeliest), expectations, tables)
    unit_s = vocabulary.unit_s
    found = {f"quantile:{level}": quantiles.units_QB[i].double() * unit_s for i, level in enumerate(request.levels)}
    found |= {"argmax": likeliest.argmax_B.double() * unit_s, "window": likeliest.window_B * unit_s}
    return found | expectations.sums


def _advance(
    stepper: Stepper,
    nodes: Nodes,
    walks: tuple[QuantileWalks, LikeliestWalks],
    expectations: Expectations,
    tables: Tables,
) -> Nodes:
    """One position further: choose, then gather the children that anything goes on to."""
    probability_NC = stepper.step(nodes.class_N, nodes.row_N, nodes.state_N)
    wanted_K = torch.zeros(probability_NC.numel(), dtype=torch.bool, device=probability_NC.device)
    moves = [(walk, *_walk_on(walk, probability_NC, nodes, tables)) for walk in walks if len(walk.node_W)]
    for _, _, key_W in moves:
        wanted_K[key_W] = True
    mass_EK: Tensor | None = None
    if nodes.mass_EN is not None:
        mass_ENC = expectations.split(probability_NC, nodes.mass_EN, nodes.prefix_N, nodes.state_N, nodes.row_N)
        mass_EK = mass_ENC.flatten(1)
        wanted_K |= (mass_EK > 0).any(dim=0)
    child_N = wanted_K.nonzero().squeeze(1)
    node_of_K = wanted_K.cumsum(0) - 1
    for walk, going_W, key_W in moves:
        walk.move(going_W, node_of_K[key_W])
    num_classes = probability_NC.shape[1]
    parent_N, class_N = child_N // num_classes, child_N % num_classes
    stepper.follow(parent_N)
    return Nodes(
        nodes.row_N[parent_N],
        tables.next_SC[nodes.state_N[parent_N], class_N],
        nodes.prefix_N[parent_N] + tables.class_value_C[class_N],
        None if mass_EK is None else mass_EK[:, child_N],
        class_N,
    )


def _walk_on(
    walk: QuantileWalks | LikeliestWalks, probability_NC: Tensor, nodes: Nodes, tables: Tables
) -> tuple[Tensor, Tensor]:
    """Walkers that go on (as indices) and the child of each, as its place among the N C possible ones.

    A walker has arrived at `<eos>`, and already after a token that only `<eos>` can follow.
    """
    class_W = walk.choose(probability_NC)
    goes_on_W = tables.goes_on_SC[nodes.state_N[walk.node_W], class_W]
    walk.arrive(~goes_on_W, nodes.prefix_N[walk.node_W] + tables.class_value_C[class_W])
    going_W = goes_on_W.nonzero().squeeze(1)
    return going_W, walk.node_W[going_W] * probability_NC.shape[1] + class_W[going_W]
