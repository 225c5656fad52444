"""Decoding state: the decoder run one position at a time, with the keys and values of every node's prefix."""

# N nodes, B rows, D width, H heads, C classes, S positions so far

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from watchline.models.gr.decoder import Decoder
from watchline.models.gr.layers import DecoderLayer


class LayerCache:
    """One layer's keys and values, a list of (N, D) by position; nodes are rows of all of them alike.

    A product with `select_DH` sums each head's part of a row, one with `spread_HD` repeats a head's number over its
    part: attention of one query becomes a few dense products.
    """

    def __init__(self, layer: DecoderLayer, num_heads: int) -> None:
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.linears = (layer.k, layer.v, layer.q)
        # One product instead of three, where the modules are what they seem and no adapter's wrappers.
        self.plain = all(type(linear) is nn.Linear for linear in self.linears)
        if self.plain:
            self.weight = torch.cat([linear.weight for linear in self.linears])
            self.bias = torch.cat([linear.bias for linear in self.linears])
        width = layer.q.in_features
        head = torch.arange(width, device=layer.o.bias.device) // (width // num_heads)
        self.spread_HD = (torch.arange(num_heads, device=head.device)[:, None] == head).to(layer.o.bias.dtype)
        self.select_DH = self.spread_HD.T.contiguous() * (width // num_heads) ** -0.5

    def attend(self, h_ND: Tensor) -> Tensor:
        """Append this position and attend to all so far; the first one sees itself alone, so it needs no query."""
        k_ND, v_ND, *q_ND = self._project(h_ND, 3 if self.keys else 2)
        self.keys.append(k_ND)
        self.values.append(v_ND)
        if not q_ND:
            return v_ND
        weight_SNH = torch.stack([(q_ND[0] * key) @ self.select_DH for key in self.keys]).softmax(dim=0)
        out_ND = (weight_SNH[0] @ self.spread_HD) * self.values[0]
        for weight_NH, value in zip(weight_SNH[1:], self.values[1:]):
            out_ND.addcmul_(weight_NH @ self.spread_HD, value)
        return out_ND

    def _project(self, h_ND: Tensor, wanted: int) -> Sequence[Tensor]:
        """Keys, values and, if wanted, queries (N, D)."""
        if not self.plain:
            return [linear(h_ND) for linear in self.linears[:wanted]]
        width = h_ND.shape[1]
        return functional.linear(h_ND, self.weight[: wanted * width], self.bias[: wanted * width]).split(width, dim=1)

    def follow(self, parent_N: Tensor) -> None:
        """Make each new node continue its parent; what all nodes share (one row) stays as it is."""
        for parts in (self.keys, self.values):
            for i, part in enumerate(parts):
                if len(part) > 1:
                    parts[i] = part.index_select(0, parent_N)


class Stepper:
    """Runs the decoder a position at a time; `follow` keeps, drops and copies nodes in between."""

    def __init__(self, decoder: Decoder, memory_BD: Tensor) -> None:
        self.decoder = decoder
        self.layers = list(decoder.decoder_layers)
        self.memories = [layer.memory(memory_BD) for layer in self.layers]
        self.caches = [LayerCache(layer, decoder.num_heads) for layer in self.layers]
        self.position = 0

    def step(self, class_N: Tensor | None, row_N: Tensor, state_N: Tensor) -> Tensor:
        """Probabilities (N, C) float64 of the next class, after `class_N` (None: the first position, nodes = rows)."""
        decoder = self.decoder
        table_CD = decoder.embedding.weight
        if decoder.positions_LD is not None:
            table_CD = table_CD + decoder.positions_LD[self.position]
        # Before the first token all rows are alike but for their memory: the first layer's attention is shared.
        x_ND = table_CD[decoder.sos :] if class_N is None else table_CD.index_select(0, class_N)
        for layer, cache, memory_BD in zip(self.layers, self.caches, self.memories):
            memory_ND = memory_BD if class_N is None else memory_BD.index_select(0, row_N)
            x_ND = layer(x_ND, memory_ND, cache.attend)
        self.position += 1
        logits_NC = decoder.head(decoder.norm(x_ND)) + decoder.forbidden_SC.index_select(0, state_N)
        return logits_NC.softmax(dim=1).double()

    def follow(self, parent_N: Tensor) -> None:
        """Make each new node continue its parent."""
        for cache in self.caches:
            cache.follow(parent_N)
