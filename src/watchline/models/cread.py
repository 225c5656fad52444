"""CREAD: classification at error-adaptive thresholds, restored to a watch time.

    P_m ~ P(y > t_m),   y_hat = sum_m P_m (t_m - t_{m-1}), t_0 = 0
    loss = BCE + w_huber * Huber((y_hat - y) / mean y) + w_order * mean_m max(P_{m+1} - P_m, 0)
    t_m = F^-1(gamma(m / M)),   gamma(z) = (1 - e^{-a z}) / (1 - e^{-a}),   F of the training labels

Source: Sun et al. 2024, arXiv 2401.07521. The larger a is, the denser are the thresholds towards large watch times;
a = 0 is the limit, equal frequencies. What differs: BCE is a mean over the thresholds and the Huber loss is of labels
divided by the training mean, so that the weights mean the same for every table; a value that repeats often has a second
threshold just below it; t_M, which no training label exceeds, needs no classifier. The restored y_hat is the statistic
`expectation`: a lower sum, some way below the mean. The others are of the distribution through the P_m, made to agree
by their cumulative minimum, and shaped as the training labels are between thresholds.
"""

# B rows, K thresholds

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
from watchline.models.heads.head import label_scale, sample_labels
from watchline.training.loop import LoopConfig


class CREADConfig(HeadConfig):
    """Thresholds, and the weights of the three losses."""

    num_thresholds: int = Field(default=40, ge=1, description="M; repeats are merged")
    adaptivity: float = Field(default=2.0, ge=0, le=50, description="a of gamma; 0: equal frequencies")
    w_huber: float = Field(default=0.1, ge=0, description="weight of the restored watch time's error; BCE weighs 1")
    huber_delta: float = Field(default=1.0, gt=0, description="where Huber turns linear, in training means")
    w_order: float = Field(default=1.0, ge=0, description="weight of probabilities that rise from one to the next")


class CREADFitConfig(CREADConfig, LoopConfig):
    """The head's settings and the training loop's."""


class CREADHead(DistributionHead):
    """A linear map onto the logits of exceeding each threshold."""

    extras = ("expectation",)
    step_K: Tensor

    def __init__(self, config: CREADConfig, width: int, prepared: Prepared) -> None:
        super().__init__()
        self.config, self.scale = config, float(prepared["scale"])
        self.buckets = Buckets(prepared)
        self.linear = nn.Linear(width, len(self.buckets) - 1)
        threshold_K = np.maximum(prepared["threshold_K"], 0.0)
        self.register_buffer("step_K", torch.from_numpy(np.diff(threshold_K, prepend=0.0)).float(), persistent=False)

    @classmethod
    def prepare(cls, config: HeadConfig, train: EncodedTable, encoder: TableEncoder) -> Prepared:
        """Thresholds, the training labels between them, and their mean."""
        assert isinstance(config, CREADConfig)
        label_N = sample_labels(train)
        levels = gamma(np.arange(1, config.num_thresholds) / config.num_thresholds, config.adaptivity)
        return {**fit_buckets(label_N, levels.tolist()), "scale": np.array(label_scale(label_N))}

    def loss(self, rows: Rows, label_B: Tensor) -> Tensor:
        """Mean of the three losses, weighted."""
        logit_BK = self.linear(rows.memory_BW)
        target_BK = self.buckets.exceeds(label_B).to(logit_BK.dtype)
        loss = functional.binary_cross_entropy_with_logits(logit_BK, target_BK)
        probability_BK = logit_BK.sigmoid()
        error_B = self._restored(probability_BK) - label_B.to(logit_BK.dtype)
        huber = functional.huber_loss(error_B / self.scale, torch.zeros_like(error_B), delta=self.config.huber_delta)
        loss = loss + self.config.w_huber * huber
        if logit_BK.shape[1] > 1:
            loss = loss + self.config.w_order * probability_BK.diff(dim=1).clamp(min=0.0).mean()
        return loss

    def law(self, rows: Rows) -> GridDistribution:
        """The distribution through the probabilities at the thresholds."""
        survival_BK = self.linear(rows.memory_BW).double().sigmoid()
        return self.buckets.distribution(1 - torch.cummin(survival_BK, dim=1).values)

    def extra(self, name: str, rows: Rows) -> Tensor:
        """The paper's prediction (B,), in the measure of the labels."""
        return self._restored(self.linear(rows.memory_BW).sigmoid())

    def _restored(self, probability_BK: Tensor) -> Tensor:
        return probability_BK @ self.step_K.to(probability_BK.dtype)


def gamma(share: np.ndarray, adaptivity: float) -> np.ndarray:
    """Levels of the training quantiles at `share` = m / M, both 0 to 1."""
    return share if adaptivity == 0 else np.expm1(-adaptivity * share) / np.expm1(-adaptivity)


class CREADModel(DistributionHeadModel):
    """CREAD on the common encoder; final."""

    name, Config, Head = "cread", CREADConfig, CREADHead


CONFIG, MODEL, fit = CREADFitConfig, CREADModel, CREADModel.fit
