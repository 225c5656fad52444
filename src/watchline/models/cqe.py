"""CQE: a row of quantiles that cannot cross, each fitted by its pinball loss.

    q_i = s / sqrt(N) * sum_{j <= i} max(h_j, 0),   loss = mean over i of max(tau_i (y - q_i), (tau_i - 1) (y - q_i))
    tau_i = i / (N + 1)

Source: Lin et al. 2024, arXiv 2407.12223; its conditional expectation, the mean of the quantiles interpolated between
levels, is the statistic `mean`. What differs: quantiles are in training means s, and steps between them in s / sqrt(N),
between what one step is and what the sum of N is, so that one learning rate suits both; the last layer's biases start
at the training labels' quantiles, so that no unit starts dead; and the mass above the last level, which the paper
leaves out of the expectation, is spread above q_N as far in proportion as the training labels are above theirs. The
mass below the first level lies between the smallest training label, or q_1 if that is lower, and q_1.
"""

# B rows, N quantiles

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from watchline.data.encoding import EncodedTable, TableEncoder
from watchline.models.grid_distribution import GridDistribution
from watchline.models.heads import DistributionHead, DistributionHeadModel, HeadConfig, Prepared, Rows
from watchline.models.heads.head import label_scale, sample_labels
from watchline.training.loop import LoopConfig


class CQEConfig(HeadConfig):
    """How many quantiles there are."""

    num_quantiles: int = Field(default=100, ge=1, description="N, at levels i / (N + 1)")


class CQEFitConfig(CQEConfig, LoopConfig):
    """The head's settings and the training loop's."""


class CQEHead(DistributionHead):
    """A linear map onto the steps from one quantile to the next."""

    level_N: Tensor

    def __init__(self, config: CQEConfig, width: int, prepared: Prepared) -> None:
        super().__init__()
        count = config.num_quantiles
        self.scale, self.lowest, self.reach = (float(prepared[name]) for name in ("scale", "lowest", "reach"))
        self.register_buffer("level_N", levels(count), persistent=False)
        self.linear, self.step = nn.Linear(width, count), count**-0.5
        start_N = np.diff(prepared["quantile_N"], prepend=0.0) / (self.scale * self.step)
        with torch.no_grad():
            self.linear.bias.copy_(torch.from_numpy(start_N))

    @classmethod
    def prepare(cls, config: HeadConfig, train: EncodedTable, encoder: TableEncoder) -> Prepared:
        """Quantiles, smallest and mean of the training labels, and how far they reach above the last quantile."""
        assert isinstance(config, CQEConfig)
        label_N = sample_labels(train)
        quantile_N = np.quantile(label_N, levels(config.num_quantiles).numpy())
        last = quantile_N[-1]
        tail = label_N[label_N >= last].mean()
        # Spread evenly from the last quantile to `reach` times it, the tail has its mean.
        reach = 2 * tail / last - 1 if last > 0 else 1.0
        numbers = {"scale": label_scale(label_N), "lowest": label_N.min(), "reach": reach}
        return {"quantile_N": quantile_N, **{name: np.array(float(number)) for name, number in numbers.items()}}

    def loss(self, rows: Rows, label_B: Tensor) -> Tensor:
        """Mean pinball loss over the levels, in training means."""
        quantile_BN = self._quantiles(rows)
        error_BN = (label_B / self.scale).to(quantile_BN.dtype)[:, None] - quantile_BN
        level_N = self.level_N.to(error_BN.dtype)
        return torch.maximum(level_N * error_BN, (level_N - 1) * error_BN).mean()

    def law(self, rows: Rows) -> GridDistribution:
        """The distribution through the quantiles, with its two ends."""
        quantile_BN = self._quantiles(rows).double() * self.scale
        first, last = quantile_BN[:, :1].clamp(max=self.lowest), quantile_BN[:, -1:] * self.reach
        value_BM = torch.cat([first, quantile_BN, last], dim=1)
        ends = self.level_N.new_tensor([0.0, 1.0])
        cumulative_M = torch.cat([ends[:1], self.level_N, ends[1:]])
        return GridDistribution(value_BM, cumulative_M.expand(len(value_BM), -1))

    def _quantiles(self, rows: Rows) -> Tensor:
        """Quantiles in training means (B, N)."""
        steps_BN: Tensor = self.linear(rows.memory_BW).clamp(min=0.0)
        return self.step * steps_BN.cumsum(dim=1)


def levels(count: int) -> Tensor:
    """The levels of `count` quantiles, float64."""
    return torch.arange(1, count + 1, dtype=torch.float64) / (count + 1)


class CQEModel(DistributionHeadModel):
    """CQE on the common encoder; final."""

    name, Config, Head = "cqe", CQEConfig, CQEHead


CONFIG, MODEL, fit = CQEFitConfig, CQEModel, CQEModel.fit
