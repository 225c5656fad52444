"""Duration-deconfounded quantiles: rows are compared within groups of videos of like duration.

    q = rank of y among the training labels of its duration group g,   y_hat = F_g^-1(q_hat)
    loss = |q_hat - q| or (q_hat - q)^2

Source: Zhan et al. 2022, arXiv 2206.06003, with squared error on the quantile; absolute error, the default here, was
better by MAE (METHODS): its minimum inverts to the conditional median. Groups hold equally many training rows; ranks
are mid-ranks, so that labels that repeat share one; both ways go by linear interpolation between the training quantiles
of the group. A row without a duration falls into the middle group. One number, not a distribution: it stands for median
and mean alike, and its training rank for the expected rank.
"""

# B rows, G groups, K knots, N training rows

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from watchline.data.encoding import EncodedTable, TableEncoder
from watchline.models.grid_distribution import interpolate
from watchline.models.heads import HeadConfig, PointHead, PointHeadModel, Prepared, Rows
from watchline.models.heads.head import sample_labels, sampled
from watchline.models.ranks import LabelRanks
from watchline.training.loop import LoopConfig

_KNOTS = 201  # training quantiles per group, at most


class D2QConfig(HeadConfig):
    """Groups, and the error of the quantile."""

    duration: str = Field(default="duration_s", description="numeric column that rows are grouped by")
    num_groups: int = Field(default=30, ge=1, description="groups of equally many training rows; fewer for few values")
    loss: Literal["l1", "squared"] = "l1"


class D2QFitConfig(D2QConfig, LoopConfig):
    """The head's settings and the training loop's."""


class D2QHead(PointHead):
    """A linear map onto the quantile within the group, and the groups' quantiles."""

    edge_G: Tensor
    label_GK: Tensor
    rank_GK: Tensor

    def __init__(self, config: D2QConfig, width: int, prepared: Prepared) -> None:
        super().__init__()
        self.config, self.column = config, int(prepared["column"])
        self.linear = nn.Linear(width, 1)
        for name in ("edge_G", "label_GK", "rank_GK"):
            self.register_buffer(name, torch.from_numpy(prepared[name]), persistent=False)

    @classmethod
    def prepare(cls, config: HeadConfig, train: EncodedTable, encoder: TableEncoder) -> Prepared:
        """Edges of the groups on the scaled duration, and each group's labels and ranks."""
        assert isinstance(config, D2QConfig)
        column, label_N = encoder.numeric_position(config.duration), sample_labels(train)
        duration_N = sampled(train.numeric_ND)[:, column].astype(np.float64)
        inner = np.linspace(0.0, 1.0, config.num_groups + 1)[1:-1]
        edges = np.unique(np.quantile(duration_N, inner, method="inverted_cdf"))
        edges = edges[edges < duration_N.max()]  # an edge belongs to the group below it; the last group is not empty
        group_N = np.searchsorted(edges, duration_N)
        ranks = [LabelRanks.fit(label_N[group_N == group], _KNOTS) for group in range(len(edges) + 1)]
        tables = {"label_GK": [r.label_K for r in ranks], "rank_GK": [r.rank_K for r in ranks]}
        padded = {name: np.stack([_pad(row, _KNOTS) for row in table]) for name, table in tables.items()}
        return {"column": np.array(column), "edge_G": edges, **padded}

    def loss(self, rows: Rows, label_B: Tensor) -> Tensor:
        """Mean error of the quantile."""
        group_B = self._group(rows)
        quantile_B = _through(self.label_GK[group_B], self.rank_GK[group_B], label_B.double())
        error_B = self._quantile(rows) - quantile_B.to(rows.memory_BW.dtype)
        return error_B.abs().mean() if self.config.loss == "l1" else error_B.square().mean()

    def value(self, rows: Rows) -> Tensor:
        """The label (B,) at the predicted quantile of the group."""
        group_B = self._group(rows)
        return _through(self.rank_GK[group_B], self.label_GK[group_B], self._quantile(rows).double())

    def _quantile(self, rows: Rows) -> Tensor:
        quantile_B: Tensor = self.linear(rows.memory_BW).squeeze(1).sigmoid()
        return quantile_B

    def _group(self, rows: Rows) -> Tensor:
        return torch.searchsorted(self.edge_G, rows.numeric_BD[:, self.column].double())


def _pad(row: np.ndarray, length: int) -> np.ndarray:
    return np.pad(row, (0, length - len(row)), mode="edge")


def _through(x_BK: Tensor, y_BK: Tensor, at_B: Tensor) -> Tensor:
    """y at x (B,) by linear interpolation, each row in its own table; beyond its ends their values."""
    upper_B1 = torch.searchsorted(x_BK, at_B[:, None]).clamp(1, x_BK.shape[1] - 1)
    return interpolate(x_BK, y_BK, upper_B1, at_B[:, None]).squeeze(1)


class D2QModel(PointHeadModel):
    """D2Q on the common encoder; final."""

    name, Config, Head = "d2q", D2QConfig, D2QHead


CONFIG, MODEL, fit = D2QFitConfig, D2QModel, D2QModel.fit
