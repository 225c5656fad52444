"""A mixture of one exponential and K Gaussians truncated at 0: density, distribution function, mean, quantiles."""

# B rows, K Gaussians, C = K + 1 components (the exponential first), M knots, Q levels

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.special import ndtri

from watchline.models.grid_distribution import GridDistribution

_HALVINGS = 50  # of the bracket of a quantile: to the last bit or so
_LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class ExponentialGaussian:
    """Log-weights (B, C) that sum to 1 as probabilities, Gaussian means (B, K) 0 or above, width of the exponential
    (B,), its mean, and of the Gaussians (B, K), above 0; `knot_M` ascending from 0, for ranks and logarithms."""

    log_weight_BC: Tensor
    mean_BK: Tensor
    exponential_B: Tensor
    width_BK: Tensor
    knot_M: Tensor

    def log_density(self, label_B: Tensor) -> Tensor:
        """Logarithm of the density at a value per row (B,), 0 or above."""
        exponential_B = -label_B / self.exponential_B - self.exponential_B.log()
        z_BK = (label_B[:, None] - self.mean_BK) / self.width_BK
        above_zero_BK = _normal(self.mean_BK / self.width_BK)
        gaussian_BK = -0.5 * (z_BK.square() + _LOG_2PI) - (self.width_BK * above_zero_BK).log()
        of_BC = torch.cat([exponential_B[:, None], gaussian_BK], dim=1)
        return (self.log_weight_BC + of_BC).logsumexp(dim=1)

    def mean(self) -> Tensor:
        """Expectation (B,); of a truncated Gaussian m + s phi(m / s) / Phi(m / s)."""
        ratio_BK = self.mean_BK / self.width_BK
        hazard_BK = (-0.5 * (ratio_BK.square() + _LOG_2PI)).exp() / _normal(ratio_BK)
        of_BC = torch.cat([self.exponential_B[:, None], self.mean_BK + self.width_BK * hazard_BK], dim=1)
        return (self.log_weight_BC.exp() * of_BC).sum(dim=1)

    def distribution_function(self, value_BM: Tensor) -> Tensor:
        """F at values (B, M) or (1, M), 0 or above."""
        weight_BC = self.log_weight_BC.exp()
        found_BM = weight_BC[:, :1] * -torch.expm1(-value_BM / self.exponential_B[:, None])
        for k in range(self.mean_BK.shape[1]):
            mean_B1, width_B1 = self.mean_BK[:, k, None], self.width_BK[:, k, None]
            below_zero_B1 = _normal(-mean_B1 / width_B1)
            share_BM = (_normal((value_BM - mean_B1) / width_B1) - below_zero_B1) / (1 - below_zero_B1)
            found_BM = found_BM + weight_BC[:, k + 1, None] * share_BM
        return found_BM.clamp(0.0, 1.0)

    def quantile(self, levels: Sequence[float]) -> Tensor:
        """Values (Q, B) by bisection; a mixture's quantile is at most the largest of its components'."""
        level_Q = self.mean_BK.new_tensor(list(levels))
        # A Gaussian with m >= 0 loses at most half of itself to the truncation.
        gaussian_BKQ = self.mean_BK[:, :, None] + self.width_BK[:, :, None] * ndtri((1 + level_Q) / 2)
        exponential_BQ = -self.exponential_B[:, None] * torch.log1p(-level_Q)
        high_BQ = torch.maximum(gaussian_BKQ.amax(dim=1), exponential_BQ)
        low_BQ = torch.zeros_like(high_BQ)
        for _ in range(_HALVINGS):
            middle_BQ = (low_BQ + high_BQ) / 2
            reached_BQ = self.distribution_function(middle_BQ) >= level_Q
            high_BQ = torch.where(reached_BQ, middle_BQ, high_BQ)
            low_BQ = torch.where(reached_BQ, low_BQ, middle_BQ)
        return high_BQ.T

    def cumulative(self, label_B: Tensor) -> tuple[Tensor, Tensor]:
        """F(y-) and F(y) of a value per row (B,), which are the same."""
        found_B = self.distribution_function(label_B.to(self.mean_BK.dtype)[:, None]).squeeze(1)
        return found_B, found_B

    def mean_log(self) -> Tensor:
        """Expectation of log1p (B,), on the knots."""
        return self._on_knots().mean_log()

    def expected_rank(self, label_K: Tensor, rank_K: Tensor) -> Tensor:
        """Expectation (B,) of the rank that is `rank_K` at labels `label_K`, linear in between, on the knots."""
        return self._on_knots().expected_rank(label_K, rank_K)

    def _on_knots(self) -> GridDistribution:
        cumulative_BM = self.distribution_function(self.knot_M[None])
        cumulative_BM[:, -1] = 1.0
        return GridDistribution(self.knot_M[None], cumulative_BM)


def _normal(z: Tensor) -> Tensor:
    """Distribution function of the standard normal; several times as fast as `torch.special.ndtr`, which keeps its
    precision far below 0, where nothing here is asked for."""
    return 0.5 * (1 + torch.erf(z * math.sqrt(0.5)))
