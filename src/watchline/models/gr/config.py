"""Configuration of the GR network; the training loop's keys live beside these in section `train.gr`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from watchline.codec import VocabularyConfig
from watchline.config import Config
from watchline.training.curriculum import CurriculumConfig


class GRConfig(Config):
    """Vocabulary, shape, loss and decoding of one GR network."""

    vocabulary: VocabularyConfig = VocabularyConfig()
    width: int = Field(default=64, ge=1, description="of the memory vector and of every token")
    num_layers: int = Field(default=2, ge=1, description="Transformer layers of the decoder")
    num_heads: int = Field(default=4, ge=1, description="attention heads; divides width")
    ffn_width: int = Field(default=128, ge=1, description="hidden width of the feed-forward part")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="on the decoder's branches; the encoder has its own")
    norm_first: bool = Field(
        default=True, description="normalise before each branch; false: after it, as the paper does"
    )
    position: Literal["none", "learned", "sinusoidal"] = "learned"
    w_ce: float = Field(default=1.0, ge=0, description="weight of the sequence's negative log-likelihood")
    w_rps: float = Field(
        default=1.0, ge=0, description="weight of the ranked probability score of every token's distribution"
    )
    w_huber: float = Field(default=0.0, ge=0, description="weight of Huber(sum of windowed expectations, label)")
    huber_delta_s: float = Field(default=1.0, gt=0, description="where the Huber loss turns from square to linear")
    window: int = Field(default=4, ge=0, description="tokens around the likeliest one that its expectation counts")
    window_renormalised: bool = Field(
        default=True, description="divide by the window's mass; the paper's code does not"
    )
    curriculum: CurriculumConfig = CurriculumConfig()
    mean_tolerance_s: float = Field(default=0.5, ge=0, description="mass times width below which mean splits no part")
    rank_tolerance: float = Field(default=0.01, ge=0, description="likewise of expected_rank and mean_log; 0 is exact")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.width % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} must divide width={self.width}")
        if self.w_ce == self.w_rps == self.w_huber == 0:
            raise ValueError("w_ce, w_rps and w_huber are all 0: nothing would be trained")
        return self
