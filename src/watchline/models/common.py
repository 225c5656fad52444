"""What all models of the matrix share: seed, threads, column coding, encoder (section `train.common`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from watchline.config import Config
from watchline.data.encoding import TableEncoderConfig
from watchline.models.encoder import EncoderConfig


class CommonConfig(Config):
    """Settings of every model, so that methods differ in what they are and not in what they are given."""

    seed: int = Field(default=1, ge=0)
    num_processes: int = Field(
        default=1, ge=1, description="processes that share the fit of a model that can be shared, under torchrun"
    )
    num_threads: int = Field(
        default=2, ge=1, description="per process; fixed, because sums depend on how work is split"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    predict_batch_size: int = Field(default=8192, ge=1)
    columns: TableEncoderConfig = TableEncoderConfig()
    encoder: EncoderConfig = EncoderConfig()
