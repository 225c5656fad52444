"""Value regression: one number per row by absolute, Huber or squared error, of the label or of log1p of it.

    y ~ g^-1(o + s f(x)),   g the identity (s the training mean) or log1p (s = 1), o the training median of g(y)

Source: the baseline `VR` of Lin et al. 2023 (TPM, arXiv 2306.03392) and of the papers after it, which use squared
error of the label; absolute error, the default here, is what MAE is judged by. One number, not a distribution: with
`l1` it is a conditional median, with `squared` a conditional mean (of log1p, where that is the target), with `huber`
something in between. It stands for median and mean alike, and its training rank for the expected rank.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from watchline.data.encoding import EncodedTable, TableEncoder
from watchline.models.heads import HeadConfig, PointHead, PointHeadModel, Prepared, Rows
from watchline.models.heads.head import label_scale, sample_labels
from watchline.training.loop import LoopConfig


class VRConfig(HeadConfig):
    """What is regressed, and by which error."""

    loss: Literal["l1", "huber", "squared"] = "l1"
    target: Literal["label", "log1p"] = Field(default="label", description="the label itself, or log1p of it")
    huber_delta: float = Field(
        default=1.0, gt=0, description="where huber turns linear: training means, or units of log1p"
    )


class VRFitConfig(VRConfig, LoopConfig):
    """The head's settings and the training loop's."""


class VRHead(PointHead):
    """A linear map onto the scaled target."""

    def __init__(self, config: VRConfig, width: int, prepared: Prepared) -> None:
        super().__init__()
        self.config, self.scale, self.offset = config, float(prepared["scale"]), float(prepared["offset"])
        self.linear = nn.Linear(width, 1)

    @classmethod
    def prepare(cls, config: HeadConfig, train: EncodedTable, encoder: TableEncoder) -> Prepared:
        """Where the target lies and how far it spreads."""
        assert isinstance(config, VRConfig)
        label_N = sample_labels(train)
        logarithmic = config.target == "log1p"
        target_N = np.log1p(label_N) if logarithmic else label_N
        scale = 1.0 if logarithmic else label_scale(label_N)
        return {"scale": np.array(scale), "offset": np.array(np.median(target_N))}

    def loss(self, rows: Rows, label_B: Tensor) -> Tensor:
        """Mean error of the scaled target."""
        target_B = label_B.log1p() if self.config.target == "log1p" else label_B
        scaled_B = ((target_B - self.offset) / self.scale).to(rows.memory_BW.dtype)
        error_B = self._scaled(rows) - scaled_B
        if self.config.loss == "squared":
            return error_B.square().mean()
        if self.config.loss == "l1":
            return error_B.abs().mean()
        return functional.huber_loss(error_B, torch.zeros_like(error_B), delta=self.config.huber_delta)

    def value(self, rows: Rows) -> Tensor:
        """The number (B,) back in the measure of the labels."""
        target_B = self.offset + self.scale * self._scaled(rows).double()
        return target_B.clamp(max=_LARGEST_LOG).expm1() if self.config.target == "log1p" else target_B

    def _scaled(self, rows: Rows) -> Tensor:
        scaled_B: Tensor = self.linear(rows.memory_BW).squeeze(1)
        return scaled_B


_LARGEST_LOG = 50.0  # of a log1p, against overflow


class VRModel(PointHeadModel):
    """Value regression on the common encoder; final."""

    name, Config, Head = "vr", VRConfig, VRHead


CONFIG, MODEL, fit = VRFitConfig, VRModel, VRModel.fit
