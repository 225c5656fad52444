"""Ordinal regression: a classifier per threshold, P(y > t_m), at the training quantiles.

    loss = mean over m of BCE(sigmoid(z_m), 1[y > t_m]),   F(t_m) = 1 - P(y > t_m)

Source: Niu et al. 2016, doi 10.1109/CVPR.2016.532; its prediction, the sum of P * step, is the integral of the
survival function, here `mean`. What differs: thresholds are quantiles of the training labels and not equal steps; the
classifiers are made to agree by the cumulative minimum of their probabilities along the thresholds; between thresholds,
and above the last one, probability lies as the training labels do, so that the whole distribution can be asked for.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from watchline.data.encoding import EncodedTable, TableEncoder
from watchline.models.grid_distribution import GridDistribution
from watchline.models.heads import DistributionHead, DistributionHeadModel, HeadConfig, Prepared, Rows
from watchline.models.heads.buckets import Buckets, fit_buckets
from watchline.models.heads.head import sample_labels
from watchline.training.loop import LoopConfig


class OrdinalConfig(HeadConfig):
    """How many thresholds there are."""

    num_thresholds: int = Field(default=64, ge=1, description="training quantiles, evenly spaced; repeats are merged")


class OrdinalFitConfig(OrdinalConfig, LoopConfig):
    """The head's settings and the training loop's."""


class OrdinalHead(DistributionHead):
    """A linear map onto the logits of exceeding each threshold."""

    def __init__(self, config: OrdinalConfig, width: int, prepared: Prepared) -> None:
        super().__init__()
        self.buckets = Buckets(prepared)
        self.linear = nn.Linear(width, len(self.buckets) - 1)

    @classmethod
    def prepare(cls, config: HeadConfig, train: EncodedTable, encoder: TableEncoder) -> Prepared:
        """Thresholds, and the training labels between them."""
        assert isinstance(config, OrdinalConfig)
        return fit_buckets(sample_labels(train), np.linspace(0.0, 1.0, config.num_thresholds + 2)[1:-1].tolist())

    def loss(self, rows: Rows, label_B: Tensor) -> Tensor:
        """Mean log-loss of the classifiers."""
        logit_BK = self.linear(rows.memory_BW)
        target_BK = self.buckets.exceeds(label_B).to(logit_BK.dtype)
        return functional.binary_cross_entropy_with_logits(logit_BK, target_BK)

    def law(self, rows: Rows) -> GridDistribution:
        """The distribution through the probabilities at the thresholds."""
        survival_BK = self.linear(rows.memory_BW).double().sigmoid()
        return self.buckets.distribution(1 - torch.cummin(survival_BK, dim=1).values)


class OrdinalModel(DistributionHeadModel):
    """Ordinal regression on the common encoder; final."""

    name, Config, Head = "ordinal", OrdinalConfig, OrdinalHead


CONFIG, MODEL, fit = OrdinalFitConfig, OrdinalModel, OrdinalModel.fit
