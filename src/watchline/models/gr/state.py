"""Decoding state: the nodes under way, with the keys and values of their prefixes."""

# N nodes, B rows, D width, H heads, C classes, S earlier positions

from __future__ import annotations

import torch
from torch import Tensor

from watchline.models.gr.decoder import Decoder


class Cache:
    """Keys and values of the positions so far, per layer a list of (N, D); nodes are rows of all of them alike.

    A product with `select_DH` sums each head's part: attention of one query becomes a few dense products.
    """

    def __init__(self, num_layers: int, num_heads: int, like: Tensor) -> None:
        width = like.shape[1]
        self.keys: list[list[Tensor]] = [[] for _ in range(num_layers)]
        self.values: list[list[Tensor]] = [[] for _ in range(num_layers)]
        head = torch.arange(width, device=like.device) // (width // num_heads)
        self.spread_HD = (torch.arange(num_heads, device=like.device)[:, None] == head).to(like.dtype)
        self.select_DH = self.spread_HD.T.contiguous() * (width // num_heads) ** -0.5

    def attend(self, layer: int, q_ND: Tensor, k_ND: Tensor, v_ND: Tensor) -> Tensor:
        """Append this position and attend to all positions so far."""
        keys, values = self.keys[layer], self.values[layer]
        keys.append(k_ND)
        values.append(v_ND)
        if len(keys) == 1:
            return v_ND
        weight_SNH = torch.stack([(q_ND * key) @ self.select_DH for key in keys]).softmax(dim=0)
        out_ND = (weight_SNH[0] @ self.spread_HD) * values[0]
        for weight_NH, value in zip(weight_SNH[1:], values[1:]):
            out_ND.addcmul_(weight_NH @ self.spread_HD, value)
        return out_ND

    def follow(self, parent_N: Tensor) -> None:
        """Make each new node continue its parent; a part that all nodes share (one row) stays as it is."""
        for parts in (*self.keys, *self.values):
            for i, part in enumerate(parts):
                if len(part) > 1:
                    parts[i] = part.index_select(0, parent_N)


class Stepper:
    """Runs the decoder a position at a time; `follow` keeps, drops and copies nodes in between."""

    def __init__(self, decoder: Decoder, memory_BD: Tensor) -> None:
        self.decoder = decoder
        self.memories = [layer.memory(memory_BD) for layer in decoder.decoder_layers]
        self.cache = Cache(len(decoder.layers), decoder.num_heads, memory_BD)
        self.position = 0

    def step(self, class_N: Tensor | None, row_N: Tensor, state_N: Tensor) -> Tensor:
        """Probabilities (N, C) float64 of the next class, after `class_N` (None: the first position, nodes = rows)."""
        decoder = self.decoder
        table_CD = decoder.embedding.weight
        if decoder.positions_LD is not None:
            table_CD = table_CD + decoder.positions_LD[self.position]
        # Before the first token all rows are alike but for their memory: the first layer's attention is shared.
        x_ND = table_CD[decoder.sos :] if class_N is None else table_CD.index_select(0, class_N)
        for i, layer in enumerate(decoder.decoder_layers):
            memory_ND = self.memories[i] if class_N is None else self.memories[i].index_select(0, row_N)
            x_ND = layer(x_ND, memory_ND, lambda q, k, v, i=i: self.cache.attend(i, q, k, v))
        self.position += 1
        logits_NC = decoder.head(decoder.norm(x_ND)) + decoder.forbidden_SC.index_select(0, state_N)
        return logits_NC.double().softmax(dim=1)
