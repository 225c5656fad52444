"""Weighted logistic regression: the odds of watching, weighted by watch time, are the mean watch time.

    loss = -(w log p + log(1 - p)),   w = y / mean training y,   prediction = mean training y * p / (1 - p)

Source: Covington et al. 2016, doi 10.1145/2959100.2959190, where clicked impressions weigh their watch time and the
others 1, so that the odds are about the mean. Here every exposure counts both ways, once with its watch time and once
with 1: the odds that minimise the loss are then the conditional mean itself, not about it. Dividing the weights by
their mean moves no minimum. One number, not a distribution: a conditional mean that stands for the median too, and its
training rank for the expected rank.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from watchline.models.heads import HeadConfig, PointHead, PointHeadModel, Prepared, Rows
from watchline.training.loop import LoopConfig


class WLRFitConfig(HeadConfig, LoopConfig):
    """The head's settings and the training loop's."""


class WLRHead(PointHead):
    """A linear map onto the logarithm of the odds."""

    def __init__(self, config: HeadConfig, width: int, prepared: Prepared) -> None:
        super().__init__()
        self.scale = float(prepared["scale"])
        self.linear = nn.Linear(width, 1)

    def loss(self, rows: Rows, label_B: Tensor) -> Tensor:
        """Mean weighted log-loss, from logits: log p = -softplus(-z), log(1 - p) = -softplus(z)."""
        logit_B = self.linear(rows.memory_BW).squeeze(1)
        weight_B = (label_B / self.scale).to(logit_B.dtype)
        return (weight_B * functional.softplus(-logit_B) + functional.softplus(logit_B)).mean()

    def value(self, rows: Rows) -> Tensor:
        """The odds (B,) in the measure of the labels."""
        return self.scale * self.linear(rows.memory_BW).squeeze(1).double().clamp(max=_LARGEST_LOGIT).exp()


_LARGEST_LOGIT = 30.0  # against overflow of the odds


class WLRModel(PointHeadModel):
    """Weighted logistic regression on the common encoder; final."""

    name, Config, Head = "wlr", HeadConfig, WLRHead


CONFIG, MODEL, fit = WLRFitConfig, WLRModel, WLRModel.fit
