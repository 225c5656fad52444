"""A head: from the encoder's memory of a row to a loss, and to a number or a distribution.

B rows, W memory width, D numeric columns, Q levels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from watchline.config import Config
from watchline.data.encoding import EncodedTable, TableEncoder

# What a head has counted in the training rows before any gradient, such as thresholds: float64 arrays by name.
Prepared = Mapping[str, np.ndarray]

_PREPARE_ROWS = 1 << 18


class HeadConfig(Config):
    """Settings of every head."""

    width: int = Field(default=64, ge=1, description="of the memory vector that the encoder hands to the head")


class Rows(NamedTuple):
    """A batch as a head sees it: the encoder's memory (B, W), and the scaled numbers themselves (B, D)."""

    memory_BW: Tensor
    numeric_BD: Tensor


class Head(nn.Module, ABC):
    """Abstract head; subclasses are made as `Head(config, width, prepared)`, with what `prepare` returned."""

    @classmethod
    def prepare(cls, config: HeadConfig, train: EncodedTable, encoder: TableEncoder) -> Prepared:
        """Count what the head needs in the training rows, from at most a quarter million labels (`sample_labels`)."""
        return {"scale": np.array(label_scale(sample_labels(train)))}

    @abstractmethod
    def loss(self, rows: Rows, label_B: Tensor) -> Tensor:
        """Mean loss over the rows of labels (B,), float64 as they are in the table."""


class PointHead(Head):
    """Abstract head of a single number per row."""

    @abstractmethod
    def value(self, rows: Rows) -> Tensor:
        """The number (B,), in the measure of the labels."""


class Law(Protocol):
    """A distribution per row; `GridDistribution` is one."""

    def quantile(self, levels: Sequence[float]) -> Tensor:
        """Values (Q, B)."""

    def mean(self) -> Tensor:
        """Expectation (B,)."""

    def mean_log(self) -> Tensor:
        """Expectation of log1p (B,)."""

    def expected_rank(self, label_K: Tensor, rank_K: Tensor) -> Tensor:
        """Expectation (B,) of the rank that is `rank_K` at labels `label_K`, linear in between."""

    def cumulative(self, label_B: Tensor) -> tuple[Tensor, Tensor]:
        """F(y-) and F(y), each (B,)."""


class DistributionHead(Head):
    """Abstract head of a whole distribution per row; `extras` are statistics of its own besides those of the law."""

    extras: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def law(self, rows: Rows) -> Law:
        """The distribution of each row's label, in float64."""

    def extra(self, name: str, rows: Rows) -> Tensor:
        """The statistic (B,) of that name of `extras`."""
        raise KeyError(f"{type(self).__name__} has no statistic {name} of its own")


def sample_labels(train: EncodedTable, limit: int = _PREPARE_ROWS) -> np.ndarray:
    """At most `limit` training labels, evenly spaced, float64; raises ValueError when there are none or one is < 0."""
    if train.label_N is None or len(train) == 0:
        raise ValueError("training needs labelled rows; check window.* against the feature table")
    label_N = sampled(train.label_N, limit)
    if not (label_N >= 0).all():
        raise ValueError(f"a training label is {label_N[~(label_N >= 0)][0]}; labels must be 0 or above")
    return label_N


def sampled(values: np.ndarray, limit: int = _PREPARE_ROWS) -> np.ndarray:
    """At most `limit` rows of an array with a row per training row, the same ones for every array."""
    return np.asarray(values[:: max(1, -(-len(values) // limit))])


def label_scale(label_N: np.ndarray) -> float:
    """Mean of the labels, in which heads measure them so that networks see numbers about 1; 1 when all are 0."""
    return float(label_N.mean()) or 1.0
