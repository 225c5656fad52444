"""Encoder and head as the one network that the training loop and prediction know.

B rows, F categorical columns, D numeric columns, K knots of the labels' ranks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from watchline.models.base import quantile_level
from watchline.models.heads.head import DistributionHead, Head, PointHead, Rows
from watchline.models.ranks import LabelRanks


class HeadNetwork(nn.Module):
    """The loop's `Network`: the loss of the head on the encoder's memory, and the statistics of what the head gives."""

    rank_label_K: Tensor
    rank_K: Tensor

    def __init__(self, encoder: nn.Module, head: Head, ranks: LabelRanks) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self.register_buffer("rank_label_K", torch.from_numpy(ranks.label_K), persistent=False)
        self.register_buffer("rank_K", torch.from_numpy(ranks.rank_K), persistent=False)

    def loss(
        self,
        categorical_BF: Tensor,
        numeric_BD: Tensor,
        label_s_B: Tensor,
        *,
        step: int,
        total_steps: int,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Mean loss over the rows; heads have no schedule and draw nothing, so the rest is not used."""
        rows = self.rows(categorical_BF, numeric_BD)
        # Heads are small and their losses are sums of logarithms: full precision, whatever the encoder ran in.
        with torch.autocast(rows.memory_BW.device.type, enabled=False):
            return self.head.loss(rows, label_s_B)

    @torch.no_grad()
    def predict(self, categorical_BF: Tensor, numeric_BD: Tensor, statistics: Sequence[str]) -> dict[str, Tensor]:
        """One float64 tensor (B,) per statistic; of a head with one number, that number or its rank.

        Raises KeyError for a quantile whose level is not between 0 and 1.
        """
        rows = self.rows(categorical_BF, numeric_BD)
        if isinstance(self.head, PointHead):
            value_B = self.head.value(rows).double().clamp(min=0.0)
            return {name: self._rank(value_B) if name == "expected_rank" else value_B for name in statistics}
        assert isinstance(self.head, DistributionHead)
        law, head = self.head.law(rows), self.head
        levels = {name: level for name in statistics if (level := quantile_level(name)) is not None}
        found = dict(zip(levels, law.quantile(list(levels.values())))) if levels else {}
        for name in statistics:
            if name in head.extras:
                found[name] = head.extra(name, rows).double()
            elif name == "expected_rank":
                found[name] = law.expected_rank(self.rank_label_K, self.rank_K)
            elif name not in levels:
                found[name] = {"mean": law.mean, "mean_log": law.mean_log}[name]()
        return found

    @torch.no_grad()
    def cumulative(self, categorical_BF: Tensor, numeric_BD: Tensor, label_s_B: Tensor) -> tuple[Tensor, Tensor]:
        """F(y-) and F(y) of each row's label y, float64 (B,); of a head with a distribution."""
        assert isinstance(self.head, DistributionHead)
        return self.head.law(self.rows(categorical_BF, numeric_BD)).cumulative(label_s_B)

    def rows(self, categorical_BF: Tensor, numeric_BD: Tensor) -> Rows:
        """What the head is given of a batch."""
        memory_BW: Tensor = self.encoder(categorical_BF, numeric_BD)
        return Rows(memory_BW.to(next(self.head.parameters()).dtype), numeric_BD)

    def _rank(self, value_B: Tensor) -> Tensor:
        """Rank of a number among the training labels, linear between knots."""
        label_K, rank_K = self.rank_label_K, self.rank_K
        if len(label_K) == 1:
            return rank_K.expand(len(value_B))
        upper = torch.searchsorted(label_K, value_B).clamp(1, len(label_K) - 1)
        share = (value_B - label_K[upper - 1]) / (label_K[upper] - label_K[upper - 1])
        return rank_K[upper - 1] + share.clamp(0.0, 1.0) * (rank_K[upper] - rank_K[upper - 1])
