"""TPM: a binary tree of classifiers over intervals of watch time; its leaves' probabilities are a distribution.

    P(leaf) = product of sigmoid(+-z_node) on the way,   y_hat = sum P(leaf) m(leaf), m the leaf's training mean
    loss = -log P(leaf of y) + w_variance * sum P(leaf) (m(leaf) - y_hat)^2 / s^2 + w_value * |y_hat - y| / s

s is the training mean. Source: Lin et al. 2023, arXiv 2306.03392. What differs: the variance is that of each row's own
distribution around its own y_hat (a public implementation reuses an average there, and its term is about 0); the
value loss is absolute, as MAE is, and both are scaled so that their weights mean the same for every table; leaves are
training quantiles, a value that repeats often having its own, so the tree need not be of one depth. Within a leaf
probability lies as the training labels do, which makes y_hat the `mean`.
"""

# B rows, L leaves, N nodes

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


class TPMConfig(HeadConfig):
    """Leaves, and the weights of the losses beside the nodes' log-loss, which weighs 1."""

    num_leaves: int = Field(default=32, ge=2, description="intervals of equally many training rows; repeats are merged")
    w_variance: float = Field(default=0.01, ge=0, description="weight of the variance of each row's distribution")
    w_value: float = Field(default=0.1, ge=0, description="weight of the absolute error of the mean")


class TPMFitConfig(TPMConfig, LoopConfig):
    """The head's settings and the training loop's."""


class TPMHead(DistributionHead):
    """A linear map onto the logit of going right at every node."""

    left_NL: Tensor
    right_NL: Tensor
    mean_L: Tensor

    def __init__(self, config: TPMConfig, width: int, prepared: Prepared) -> None:
        super().__init__()
        self.config, self.scale = config, float(prepared["scale"])
        self.buckets = Buckets(prepared)
        self.linear = nn.Linear(width, len(self.buckets) - 1)
        for name, way in zip(("left_NL", "right_NL"), balanced_tree(len(self.buckets))):
            self.register_buffer(name, torch.from_numpy(way).float(), persistent=False)
        self.register_buffer("mean_L", (self.buckets.means() / self.scale).float(), persistent=False)

    @classmethod
    def prepare(cls, config: HeadConfig, train: EncodedTable, encoder: TableEncoder) -> Prepared:
        """The leaves, the training labels inside them, and their mean."""
        assert isinstance(config, TPMConfig)
        label_N = sample_labels(train)
        levels = np.linspace(0.0, 1.0, config.num_leaves + 1)[1:-1]
        return {**fit_buckets(label_N, levels.tolist()), "scale": np.array(label_scale(label_N))}

    def loss(self, rows: Rows, label_B: Tensor) -> Tensor:
        """Mean of the three losses, weighted."""
        log_BL = self._log_probabilities(rows)
        chosen_B = log_BL.gather(1, self.buckets.bucket(label_B)[:, None]).squeeze(1)
        probability_BL, mean_L = log_BL.exp(), self.mean_L.to(log_BL.dtype)
        value_B = probability_BL @ mean_L
        variance_B = (probability_BL * (mean_L - value_B[:, None]).square()).sum(dim=1)
        error_B = (value_B - (label_B / self.scale).to(value_B.dtype)).abs()
        return (-chosen_B + self.config.w_variance * variance_B + self.config.w_value * error_B).mean()

    def law(self, rows: Rows) -> GridDistribution:
        """The distribution over the leaves."""
        probability_BL = self._log_probabilities(rows).double().exp()
        cumulative_BL = probability_BL.cumsum(dim=1)
        return self.buckets.distribution(cumulative_BL[:, :-1] / cumulative_BL[:, -1:])

    def _log_probabilities(self, rows: Rows) -> Tensor:
        """log P(leaf) (B, L): the sum of the log-probabilities of the turns on the way."""
        logit_BN = self.linear(rows.memory_BW)
        left_NL, right_NL = self.left_NL.to(logit_BN.dtype), self.right_NL.to(logit_BN.dtype)
        return functional.logsigmoid(-logit_BN) @ left_NL + functional.logsigmoid(logit_BN) @ right_NL


def balanced_tree(num_leaves: int) -> tuple[np.ndarray, np.ndarray]:
    """For each inner node (N = L - 1) which leaves lie to its left, and which to its right: two (N, L) of 0 and 1."""
    left, right = np.zeros((2, num_leaves - 1, num_leaves))
    waiting, node = [(0, num_leaves)], 0
    while waiting:
        start, stop = waiting.pop()
        if stop - start > 1:
            middle = (start + stop) // 2
            left[node, start:middle], right[node, middle:stop] = 1.0, 1.0
            node += 1
            waiting += [(middle, stop), (start, middle)]
    return left, right


class TPMModel(DistributionHeadModel):
    """TPM on the common encoder; final."""

    name, Config, Head = "tpm", TPMConfig, TPMHead


CONFIG, MODEL, fit = TPMFitConfig, TPMModel, TPMModel.fit
