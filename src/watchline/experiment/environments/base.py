"""What an environment is: it answers exposures that were never logged."""

# B exposures asked about, N requests, V videos of a catalogue

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Answers(Protocol):
    """The answers to B exposures, prepared once and drawn as often as wanted.

    mean_s: expected watch time of each exposure (B,), seconds.
    """

    @property
    def mean_s(self) -> Floats:
        """Expected watch time of each exposure (B,), seconds."""

    def draw(self, rows: Ints, generator: np.random.Generator) -> Floats:
        """One drawn watch time, seconds, of each of `rows`, whatever its shape; the same generator, the same draws."""


class Environment(Protocol):
    """Answers exposures: a table with user_id, video_id, surface, exposed_at and the feature columns as of that moment.

    `is_truth`: whether its expectation is the world's own (generated data) or itself an estimate.
    """

    name: ClassVar[str]
    is_truth: ClassVar[bool]

    def answer(self, exposures: pl.DataFrame) -> Answers:
        """The answers to a table of exposures."""

    def known(self, user_id: Ints, video_id: Ints) -> Bools | None:
        """Which of V videos it can answer for each of N users (N, V); None: all of them."""
