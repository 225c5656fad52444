"""Small GR networks whose whole distribution can be enumerated."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from watchline.codec import Vocabulary, VocabularyConfig
from watchline.models.gr.config import GRConfig
from watchline.models.gr.network import GRNetwork
from watchline.models.gr.packing import pack_labels
from watchline.training.curriculum import CurriculumConfig

NUM_ROWS = 24
VOCABULARY = Vocabulary((1, 3, 8, 20), 0.7, 60)


class RowEncoder(nn.Module):
    """A memory vector per code, so that rows differ."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(NUM_ROWS, width)

    def forward(self, categorical_BF: Tensor, numeric_BD: Tensor) -> Tensor:
        """Memory (B, W)."""
        return 2 * self.embedding(categorical_BF[:, 0]) + numeric_BD.sum(1, keepdim=True)


def small_config(**changes: Any) -> GRConfig:
    """Width 16, two layers; exact expectations unless changed."""
    values = {"width": 16, "num_heads": 4, "ffn_width": 24, "mean_tolerance_s": 0.0, "rank_tolerance": 0.0}
    # The reference's loss is the likelihood of the labels, by teacher forcing, unless a test says otherwise.
    values |= {"w_rps": 0.0, "curriculum": CurriculumConfig(kind="off")}
    return GRConfig(**{**values, "vocabulary": VocabularyConfig(unit_s=0.7, cap_s=42.0), **changes})


def small_network(config: GRConfig, vocabulary: Vocabulary = VOCABULARY, seed: int = 0) -> GRNetwork:
    """A float64 network with weights large enough that its distributions differ much between rows; evaluation mode."""
    torch.manual_seed(seed)
    network = GRNetwork(config, RowEncoder(config.width), vocabulary).double()
    for parameter in network.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.6)
    network.fit_ranks(training_labels())
    return network.eval()


def training_labels() -> np.ndarray:
    """Seconds from 0 on, skewed, with ties once they are rounded."""
    return np.minimum(np.random.default_rng(5).exponential(6.0, 800), 30.0)


def rows(count: int = NUM_ROWS) -> tuple[Tensor, Tensor]:
    """Codes and numbers of rows."""
    return torch.arange(count)[:, None], torch.linspace(-0.3, 0.3, count, dtype=torch.float64)[:, None]


@torch.no_grad()
def enumerate_probabilities(network: GRNetwork, categorical: Tensor, numeric: Tensor) -> Tensor:
    """Probability (B, cap + 1) of every label of the vocabulary, each sequence run through the decoder by itself."""
    vocabulary = network.vocabulary
    columns = []
    for units in range(vocabulary.cap + 1):
        label_s_B = torch.full((len(categorical),), units * vocabulary.unit_s, dtype=torch.float64)
        packed = pack_labels(vocabulary, label_s_B)
        memory_BD = network.encoder(categorical, numeric)[packed.order_B]
        logits_PC = network.decoder(network.decoder.embed(packed), memory_BD, packed)
        picked_P = logits_PC.log_softmax(1).gather(1, packed.target_P[:, None]).squeeze(1)
        columns.append(picked_P.new_zeros(len(categorical)).index_add(0, packed.order_B[packed.row_P], picked_P))
    return torch.stack(columns, dim=1).exp()
