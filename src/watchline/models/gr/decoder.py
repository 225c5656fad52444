"""The decoder: token embeddings, layers, a distribution over the next class at every position."""

# B rows, P packed positions, N nodes of a decoding, D width, C classes, S states, H heads

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from watchline.codec import Vocabulary
from watchline.models.gr.config import GRConfig
from watchline.models.gr.layers import DecoderLayer, packed_attention, position_table
from watchline.models.gr.packing import Packed


class Decoder(nn.Module):
    """Predicts each next class from the classes before it and the row's memory vector."""

    positions_LD: Tensor | None
    forbidden_SC: Tensor

    def __init__(self, config: GRConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.sos = vocabulary.num_classes
        self.embedding = nn.Embedding(vocabulary.num_classes + 1, config.width)
        table = position_table(config, vocabulary.max_length + 1)
        learned = config.position == "learned"
        if learned and table is not None:
            self.positions_LD = nn.Parameter(table)
        else:
            self.register_buffer("positions_LD", table, persistent=False)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width) if config.norm_first else nn.Identity()
        self.head = nn.Linear(config.width, vocabulary.num_classes)
        classes = torch.arange(vocabulary.num_classes)
        illegal_SC = classes > torch.from_numpy(vocabulary.legal.num_legal_S)[:, None]
        forbidden = torch.zeros(illegal_SC.shape).masked_fill(illegal_SC, float("-inf"))
        self.register_buffer("forbidden_SC", forbidden, persistent=False)

    @property
    def decoder_layers(self) -> Iterator[DecoderLayer]:
        """The layers, first to last."""
        for layer in self.layers:
            assert isinstance(layer, DecoderLayer)
            yield layer

    def embed(self, packed: Packed) -> Tensor:
        """Embeddings (P, D) of the packed input classes, without positions."""
        return self.embedding(packed.input_P)

    def forward(self, embedded_PD: Tensor, memory_BD: Tensor, packed: Packed) -> Tensor:
        """Logits (P, C), minus infinity where a class is illegal; `memory_BD` in the packed order of rows."""
        x_PD = embedded_PD
        if self.positions_LD is not None:
            x_PD = x_PD + self.positions_LD[packed.position_P]
        for layer in self.decoder_layers:
            memory_PD = layer.memory(memory_BD).index_select(0, packed.row_P)
            x_PD = layer(x_PD, memory_PD, partial(self._attend, layer, packed))
        return self.head(self.norm(x_PD)) + self.forbidden_SC[packed.state_P]

    def _attend(self, layer: DecoderLayer, packed: Packed, h_PD: Tensor) -> Tensor:
        return packed_attention(layer.q(h_PD), layer.k(h_PD), layer.v(h_PD), packed.blocks, self.num_heads)
