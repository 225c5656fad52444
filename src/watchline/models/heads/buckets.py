"""Buckets of labels between thresholds, fitted on training labels: where labels repeat, the value has its own bucket.

A head that gives P(label > threshold) or the probability of each bucket knows the distribution function at the
thresholds; inside a bucket its probability lies as the training labels do.
"""

# N labels, K thresholds (K + 1 buckets), M knots, B rows

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from watchline.models.grid_distribution import GridDistribution
from watchline.models.heads.head import Prepared

_PARTS = 4  # pieces of equal training rows that the inside of a bucket is drawn with


def fit_buckets(label_N: np.ndarray, levels: Sequence[float]) -> Prepared:
    """Thresholds at the quantiles of labels (N,) of the given levels, and the training labels' shape in between.

    A bucket holds labels above its threshold up to the next one. A value that is the quantile of two levels or more is
    an atom: a threshold just below it sets it apart, where labels lie between it and the threshold before. Every bucket
    has training labels, but for the last one where all labels are equal.
    """
    ordered = np.sort(label_N)
    at, times = np.unique(np.quantile(ordered, levels, method="inverted_cdf"), return_counts=True)
    below = np.nextafter(at[times > 1], -np.inf)
    threshold_K = np.union1d(at, below)
    threshold_K = threshold_K[(threshold_K >= ordered[0]) & (threshold_K < ordered[-1])]
    if not len(threshold_K):
        threshold_K = ordered[-1:]  # all labels are equal, or all levels at an end: one that no label exceeds
    # In whole units (1, just below 2, 2) nothing lies between some: a bucket without labels would have no shape.
    upto_K, first_K = np.unique(np.searchsorted(ordered, threshold_K, side="right"), return_index=True)
    threshold_K = threshold_K[first_K]
    ends = [0, *upto_K, len(ordered)]
    buckets = [ordered[i:j] if i < j else threshold_K[-1:] for i, j in pairwise(ends)]
    values = [_shape(members) for members in buckets]
    return {
        "threshold_K": threshold_K,
        "knot_M": np.concatenate(values),
        "bucket_M": np.repeat(np.arange(len(buckets)), _PARTS + 1).astype(np.float64),
        "share_M": np.tile(np.linspace(0.0, 1.0, _PARTS + 1), len(buckets)),
    }


def _shape(members: np.ndarray) -> np.ndarray:
    """Knots of equal parts of sorted labels; the last one is where the last part, spread evenly, has its mean."""
    knots = np.quantile(members, np.linspace(0.0, 1.0, _PARTS + 1))
    tail = members[members >= knots[-2]]
    knots[-1] = np.clip(2 * tail.mean() - knots[-2], knots[-2], members[-1])
    return knots


class Buckets(nn.Module):
    """Fitted buckets on the device of the network: labels to buckets, and probabilities to a distribution."""

    threshold_K: Tensor
    knot_M: Tensor
    bucket_M: Tensor
    share_M: Tensor

    def __init__(self, prepared: Prepared) -> None:
        super().__init__()
        for name in ("threshold_K", "knot_M", "bucket_M", "share_M"):
            values = torch.from_numpy(np.ascontiguousarray(prepared[name]))
            self.register_buffer(name, values.long() if name == "bucket_M" else values, persistent=False)

    def __len__(self) -> int:
        return len(self.threshold_K) + 1

    def exceeds(self, label_B: Tensor) -> Tensor:
        """Whether each label exceeds each threshold (B, K)."""
        return label_B.double()[:, None] > self.threshold_K

    def bucket(self, label_B: Tensor) -> Tensor:
        """The bucket of each label (B,), from 0."""
        return self.exceeds(label_B).sum(dim=1)

    def means(self) -> Tensor:
        """Mean of each bucket's own distribution (K + 1,)."""
        size = len(self)
        knot = self.knot_M.view(size, -1)
        return ((knot[:, :-1] + knot[:, 1:]) / 2).mean(dim=1)

    def distribution(self, cumulative_BK: Tensor) -> GridDistribution:
        """The distribution with these probabilities (B, K) up to each threshold, which must not fall along K."""
        ends = cumulative_BK.new_zeros(len(cumulative_BK), 1)
        edge = torch.cat([ends, cumulative_BK, ends + 1], dim=1).double()
        low, high = edge.index_select(1, self.bucket_M), edge.index_select(1, self.bucket_M + 1)
        return GridDistribution(self.knot_M[None], low + self.share_M * (high - low))
