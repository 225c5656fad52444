"""The one feature encoder of all torch models: category embeddings and numbers through an MLP into one memory vector.

B rows, F categorical columns, D numeric columns, E embedding width, W memory width.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn

from watchline.config import Config


class EncoderConfig(Config):
    """Shape and regularisation of the encoder; the memory width is the model's own `width`."""

    embedding_width: int = Field(default=16, ge=1, description="width of each category's embedding")
    hidden_width: int = Field(default=256, ge=1, description="width of the hidden layers")
    num_layers: int = Field(default=2, ge=1, description="linear layers, the one onto the memory included")
    numeric_bins: int = Field(default=8, ge=1, description="parts of 0 to 1 that each number is spread over")
    dropout: float = Field(default=0.1, ge=0, lt=1)
    id_dropout: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="chance that a training row's id reads as unknown; not of columns of few codes",
    )
    number_dropout: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="chance that one of a training row's numbers is hidden: 0 in every bin, as no number reads where "
        "there are several bins, nor a null, which reads as the middle of the scale",
    )
    id_cardinality: int = Field(default=100, ge=1, description="a column with more codes than this counts as an id")


class FeatureEncoder(nn.Module):
    """Encode rows into memory vectors; in training, ids drop to the unknown code at random, which trains it, and
    numbers to 0 in every bin. The unknown code of a column that is no id, and a null among the numbers, are trained by
    the training rows that have them alone."""

    COMPILED = ("forward",)
    offset_F: Tensor
    is_id_F: Tensor

    def __init__(self, cardinalities: Sequence[int], num_numeric: int, config: EncoderConfig, width: int) -> None:
        super().__init__()
        self.width = width
        self.id_dropout, self.number_dropout = config.id_dropout, config.number_dropout
        self.numeric_bins = config.numeric_bins
        counts = torch.tensor(list(cardinalities), dtype=torch.int64)
        # One table for all columns: a single lookup is several times faster than one per column.
        self.embedding = nn.Embedding(max(1, int(counts.sum())), config.embedding_width)
        nn.init.normal_(self.embedding.weight, std=0.05)
        self.register_buffer("offset_F", counts.cumsum(0) - counts, persistent=False)
        self.register_buffer("is_id_F", counts > config.id_cardinality, persistent=False)
        widths = [len(counts) * config.embedding_width + num_numeric * config.numeric_bins]
        widths += [config.hidden_width] * (config.num_layers - 1) + [width]
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            last = i == config.num_layers - 1
            layers.append(nn.Linear(inputs, outputs))
            layers += [] if last else [nn.SiLU(), nn.Dropout(config.dropout)]
        self.layers = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(width)

    def forward(self, categorical_BF: Tensor, numeric_BD: Tensor) -> Tensor:
        """Memory vectors (B, W) of integer codes (B, F) and float32 numbers (B, D) between 0 and 1."""
        if self.training and self.id_dropout > 0:
            drop_BF = torch.rand(categorical_BF.shape, device=categorical_BF.device) < self.id_dropout
            categorical_BF = categorical_BF.masked_fill(drop_BF & self.is_id_F, 0)
        embedded_BFE = self.embedding(categorical_BF + self.offset_F)
        spread_BDK = spread(numeric_BD, self.numeric_bins)
        if self.training and self.number_dropout > 0:
            kept_BD = torch.rand(numeric_BD.shape, device=numeric_BD.device) >= self.number_dropout
            spread_BDK = spread_BDK * kept_BD.unsqueeze(2)
        return self.norm(self.layers(torch.cat([embedded_BFE.flatten(1), spread_BDK.flatten(1)], dim=1)))


def spread(numeric_BD: Tensor, num_bins: int) -> Tensor:
    """Piecewise-linear encoding (B, D, K): how far each number has come through each of K parts of 0 to 1, less 1/2.

    Lets one linear layer bend at every part's edge. Source: Gorishniy et al. 2022, arXiv 2203.05556.
    """
    edges_K = torch.arange(num_bins, device=numeric_BD.device, dtype=numeric_BD.dtype)
    return (numeric_BD.unsqueeze(2) * num_bins - edges_K).clamp(0, 1) - 0.5
