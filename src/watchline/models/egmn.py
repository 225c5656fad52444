"""EGMN: a mixture of one exponential, for quick skips, and K Gaussians truncated at 0.

    p(y) = w_0 e^{-y / b} / b + sum_k w_k N(y; m_k, s_k) / Phi(m_k / s_k),   y >= 0
    loss = -log p(y) - w_entropy * H(w) + w_value * |E[y] - y|,   all of y divided by the training mean

Source: Zhao et al. 2025, arXiv 2508.12665: likelihood, an entropy H of the weights that keeps components in use, and
the absolute error of the mean. What differs: the Gaussians are truncated, so that no probability lies below 0, their
m_k are 0 or above, and no component is narrower than `min_width`: where labels repeat, the likelihood would otherwise
grow without bound. Distribution function and mean are exact, quantiles are found by bisection; expected rank and
mean_log come from the exact distribution function at 258 knots, linear in between. There are no atoms: F(y-) = F(y).
"""

# B rows, K Gaussians

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from watchline.data.encoding import EncodedTable, TableEncoder
from watchline.models.exponential_gaussian import ExponentialGaussian
from watchline.models.heads import DistributionHead, DistributionHeadModel, HeadConfig, Prepared, Rows
from watchline.models.heads.head import label_scale, sample_labels
from watchline.training.loop import LoopConfig

_KNOTS = 256


class EGMNConfig(HeadConfig):
    """Components, and the weights of the losses beside the likelihood, which weighs 1."""

    num_gaussians: int = Field(default=5, ge=1, description="K")
    min_width: float = Field(default=0.02, gt=0, description="least width of a component, in training means")
    w_entropy: float = Field(default=0.01, ge=0, description="weight of the entropy of the mixture's weights")
    w_value: float = Field(default=0.1, ge=0, description="weight of the absolute error of the mean")


class EGMNFitConfig(EGMNConfig, LoopConfig):
    """The head's settings and the training loop's."""


class EGMNHead(DistributionHead):
    """A linear map onto weights, means and widths of the components."""

    knot_M: Tensor

    def __init__(self, config: EGMNConfig, width: int, prepared: Prepared) -> None:
        super().__init__()
        self.config, self.scale = config, float(prepared["scale"])
        self.linear = nn.Linear(width, 3 * config.num_gaussians + 2)
        self.register_buffer("knot_M", torch.from_numpy(prepared["knot_M"]), persistent=False)
        with torch.no_grad():
            # The Gaussians start spread over the training labels: alike, they would share every gradient.
            start = torch.from_numpy(prepared["mean_K"]).clamp(min=0.01).expm1().log()
            self.linear.bias[config.num_gaussians + 1 : 2 * config.num_gaussians + 1].copy_(start)

    @classmethod
    def prepare(cls, config: HeadConfig, train: EncodedTable, encoder: TableEncoder) -> Prepared:
        """Mean and quantiles of the training labels, and knots that reach ten times as far."""
        assert isinstance(config, EGMNConfig)
        label_N = sample_labels(train)
        scale, parts = label_scale(label_N), config.num_gaussians
        mean_K = np.quantile(label_N, (np.arange(parts) + 0.5) / parts) / scale
        inner = np.quantile(label_N, np.linspace(0.0, 1.0, _KNOTS - 64))
        # Half of the others cover what labels leave out near 0, half what lies above the largest.
        beyond = max(label_N.max(), scale) * np.geomspace(1.0, 10.0, 33)[1:]
        near = scale * np.geomspace(1e-3, 1.0, 32)
        return {
            "scale": np.array(scale),
            "mean_K": mean_K,
            "knot_M": np.concatenate([[0.0], np.sort(np.concatenate([inner, near, beyond]))]),
        }

    def loss(self, rows: Rows, label_B: Tensor) -> Tensor:
        """Mean of the three losses, weighted."""
        mixture = self._mixture(self.linear(rows.memory_BW), 1.0)
        scaled_B = (label_B / self.scale).to(rows.memory_BW.dtype)
        entropy_B = -(mixture.log_weight_BC.exp() * mixture.log_weight_BC).sum(dim=1)
        error_B = (mixture.mean() - scaled_B).abs()
        loss_B = -mixture.log_density(scaled_B) - self.config.w_entropy * entropy_B + self.config.w_value * error_B
        return loss_B.mean()

    def law(self, rows: Rows) -> ExponentialGaussian:
        """The mixture in the measure of the labels."""
        return self._mixture(self.linear(rows.memory_BW).double(), self.scale)

    def _mixture(self, out_BO: Tensor, scale: float) -> ExponentialGaussian:
        count = self.config.num_gaussians
        weight_BC, mean_BK, width_BC = out_BO.split([count + 1, count, count + 1], dim=1)
        width_BC = self.config.min_width + nn.functional.softplus(width_BC)
        return ExponentialGaussian(
            weight_BC.log_softmax(dim=1),
            scale * nn.functional.softplus(mean_BK),
            scale * width_BC[:, 0],
            scale * width_BC[:, 1:],
            self.knot_M,
        )


class EGMNModel(DistributionHeadModel):
    """EGMN on the common encoder; final."""

    name, Config, Head = "egmn", EGMNConfig, EGMNHead


CONFIG, MODEL, fit = EGMNFitConfig, EGMNModel, EGMNModel.fit
