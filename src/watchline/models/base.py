"""What every watch-time model is to the rest of the line: fitted on two tables, asked for statistics, saved and loaded.

A model is a conditional distribution of watch time given the features of an exposure, or as much of one as it has.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from watchline.training.distributed import ALONE, Processes

# Which decoding fits which metric (METHODS: the statistic must match the metric, or rankings flip with it).
STATISTIC_OF_METRIC = {"mae_s": "median", "rmse_s": "mean", "xauc": "expected_rank"}

# The central interval that reports judge distributions by: its mass, and the statistics that are its ends.
INTERVAL_MASS, INTERVAL_ENDS = 0.8, ("quantile:0.1", "quantile:0.9")

Progress = Callable[[str], None]


def quantile_level(statistic: str) -> float | None:
    """Level of `median` or `quantile:Q`, None for other names; raises KeyError for a level not between 0 and 1."""
    if statistic == "median":
        return 0.5
    if not statistic.startswith("quantile:"):
        return None
    try:
        level = float(statistic.removeprefix("quantile:"))
    except ValueError:
        level = 0.0
    if not 0 < level < 1:
        raise KeyError(f"statistic {statistic!r}: the level must be a number between 0 and 1, such as quantile:0.9")
    return level


@dataclass(frozen=True)
class FitContext:
    """What a fit may use besides the tables: a folder for checkpoints and encoded columns (None: no resume, columns in
    memory), a place for progress, and the processes that share the work."""

    run_dir: Path | None = None
    progress: Progress = print
    processes: Processes = ALONE


@dataclass(frozen=True)
class Fit:
    """A fitted model, one row of `curves` per validation (plain numbers, key `step` first), and facts for the page."""

    model: WatchTimeModel
    curves: list[dict[str, float]]
    facts: dict[str, Any] = field(default_factory=dict)


class WatchTimeModel(ABC):
    """Abstract model. Subclasses are final; they name themselves and the statistics they can give."""

    name: ClassVar[str]
    distributed: ClassVar[bool] = False  # whether processes can share a fit; else the first one does it alone

    @property
    @abstractmethod
    def statistics(self) -> tuple[str, ...]:
        """What `predict` knows by name: `median`, `mean`, `expected_rank`, ... (more in `DistributionModel`)."""

    @abstractmethod
    def predict(self, table: pl.DataFrame, statistics: Sequence[str]) -> dict[str, np.ndarray]:
        """One float64 array (rows,) per statistic, seconds (`expected_rank`: share of training labels below, 0 to 1).

        `table` has the columns the model was fitted on, in any order, and need not have the label.
        Raises KeyError for a statistic or column the model does not have.
        """

    def check(self, statistics: Sequence[str]) -> None:
        """Raise KeyError for statistics that the model does not have, naming them and those it has."""
        quantiles = isinstance(self, DistributionModel)
        known = [*self.statistics, *["quantile:Q"] * quantiles]
        unknown = [
            name for name in statistics if name not in known and not (quantiles and name.startswith("quantile:"))
        ]
        if unknown:
            raise KeyError(f"{self.name} has no statistic {', '.join(unknown)}; it has {', '.join(known)}")

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write safetensors and JSON into `directory` (made if missing), `model.json` holding {"model": name}."""

    @classmethod
    @abstractmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote; raises ValueError naming the file when it is not a model of this class."""


class DistributionModel(WatchTimeModel):
    """Abstract model of the whole distribution: `predict` also knows `quantile:Q` for every Q between 0 and 1."""

    @abstractmethod
    def cumulative(self, table: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """F(y-) and F(y) of the label y of each labelled row (rows,): the predicted probability below and up to it."""
