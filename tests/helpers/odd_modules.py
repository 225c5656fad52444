"""Modules that adapters cannot take."""

from __future__ import annotations

from torch import Tensor, nn


class Attention(nn.Module):
    """Its weights are handed to a function."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Self-attention."""
        return self.attention(x, x, x)[0]


class Tied(nn.Module):
    """A head with the embedding's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 8)
        self.head = nn.Linear(8, 12, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the words."""
        return self.head(self.embedding(x.argmax(-1)))
