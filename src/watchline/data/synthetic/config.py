"""What can be set about the generated data."""

from __future__ import annotations

from datetime import date
from typing import Literal

import numpy as np
from pydantic import Field

from watchline.config import Config

UTC_OFFSET_HOURS = 8  # of the local day, as in the real log


class SyntheticConfig(Config):
    """A generated log: the same values give the same bytes; a day depends on `seed`, its place and the rows per day."""

    source: Literal["synthetic"]
    path: str = Field(description="the generator itself: what ingest depends on")
    seed: int = Field(ge=0)
    first_day: date = Field(description="first local day")
    days: int = Field(ge=1, le=3650, description="number of local days")
    exposures: int = Field(ge=50, description="rows in all, surplus copies included, at an average day of the week")
    drift: float = Field(default=1.0, ge=0, description="speed of tastes, releases per ten days; 0: no drift")
    defects: float = Field(default=1.0, ge=0, le=5, description="rate of defects as a multiple of the real log's")

    @property
    def rows_per_day(self) -> float:
        """Rows of an average day."""
        return self.exposures / self.days


def day_generator(seed: int, stream: int, day: int, part: int = 0) -> np.random.Generator:
    """Random numbers of one purpose (`stream`), one day and one part of it, independent of those of every other."""
    return np.random.default_rng(np.random.SeedSequence([seed, stream, day, part]))
