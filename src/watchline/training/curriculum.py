"""CLEM: how much of the decoder's input comes from the true labels, as a schedule over global steps.

Schedules after Bengio et al. 2015 (arXiv 1506.03099); embedding mixup after GR (arXiv 2412.20211).
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from watchline.config import Config

Schedule = Literal["linear", "exponential", "inverse_sigmoid"]


def _off_is_a_word(value: object) -> object:
    return "off" if value is False else value  # YAML reads a bare `off` as false


class CurriculumConfig(Config):
    """What replaces true tokens in the decoder's input, and when. The share of true tokens goes from start to end."""

    kind: Annotated[Literal["off", "sample", "mixup"], BeforeValidator(_off_is_a_word)] = "mixup"
    schedule: Schedule = "linear"
    start: float = Field(default=1.0, ge=0, le=1, description="share of true tokens at the first step")
    end: float = Field(
        default=0.85, ge=0, le=1, description="share at the last step; above start, training ends forced"
    )
    sharpness: float = Field(default=8.0, gt=0, description="of the bend in exponential and inverse_sigmoid")
    first_pass_gradient: bool = Field(
        default=False,
        description="whether gradients flow through the first pass, whose prediction is mixed in; to the embeddings "
        "that are mixed they do anyhow",
    )


def progress_shape(schedule: Schedule, progress: float, sharpness: float) -> float:
    """A curve from 1 at progress 0 to 0 at progress 1: linear, exponential, or a falling sigmoid around the middle."""
    if schedule == "linear":
        return 1.0 - progress
    if schedule == "exponential":
        floor = math.exp(-sharpness)
        return (math.exp(-sharpness * progress) - floor) / (1.0 - floor)
    highest, lowest = _sigmoid(sharpness / 2), _sigmoid(-sharpness / 2)
    return (_sigmoid(sharpness * (0.5 - progress)) - lowest) / (highest - lowest)


def teacher_share(config: CurriculumConfig, step: int, total_steps: int) -> float:
    """Probability that a true token stays in the input at global `step` (from 0) of `total_steps`; 1 when off.

    Raises ValueError for a step below 0; beyond the last step the share stays at its end.
    """
    if step < 0 or total_steps < 1:
        raise ValueError(f"step {step} of {total_steps} steps: global steps count from 0, and there is at least one")
    if config.kind == "off":
        return 1.0
    progress = min(1.0, step / max(1, total_steps - 1))
    return config.end + (config.start - config.end) * progress_shape(config.schedule, progress, config.sharpness)


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))
