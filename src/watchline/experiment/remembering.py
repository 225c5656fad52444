"""A model that is asked once for each table, so that many policies over the same candidates cost one prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import polars as pl

from watchline.models import load_model
from watchline.models.base import WatchTimeModel


class RememberingModel(WatchTimeModel):
    """Asks `base` once for each table, and answers those that wrap it from memory; final.

    It holds the last table and what was predicted for it.
    """

    name: ClassVar[str] = "remembering"

    def __init__(self, base: WatchTimeModel) -> None:
        self.base = base
        self._table: pl.DataFrame | None = None
        self._known: dict[str, np.ndarray] = {}

    @property
    def statistics(self) -> tuple[str, ...]:
        """Those of the base."""
        return self.base.statistics

    def predict(self, table: pl.DataFrame, statistics: Sequence[str]) -> dict[str, np.ndarray]:
        """The base's predictions; asked of it only for a table other than the last, or for another statistic."""
        if table is not self._table:
            self.remember(table, {})
        unknown = [name for name in statistics if name not in self._known]
        if unknown:
            self._known |= self.base.predict(table, unknown)
        return {name: self._known[name] for name in statistics}

    def remember(self, table: pl.DataFrame, predictions: Mapping[str, np.ndarray]) -> None:
        """Take `predictions` (statistic -> (B,)) as the base's for `table`, which were made before."""
        self._table, self._known = table, dict(predictions)

    def save(self, directory: Path) -> None:
        """Save the base; what is remembered is no part of a model."""
        self.base.save(directory)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Load any saved model, with an empty memory."""
        return cls(load_model(directory))
