"""No model at all: the mean and the median of the label in each group of rows, by one column."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import polars as pl

from watchline.models.base import WatchTimeModel

POINTS = ("median", "mean")


class GroupModel(WatchTimeModel):
    """Mean and median of the label by the values of one column, what is unknown having those of all rows. Final.

    By `video_id` it is popularity alone, by `surface` no order within a request at all.
    """

    name: ClassVar[str] = "group"

    def __init__(self, key: str, table: pl.DataFrame) -> None:
        self.key, self._of_value = key, table

    @classmethod
    def fit(cls, train: pl.DataFrame, key: str, label: str) -> Self:
        """From training rows with `key` and `label`; the row whose key is null stands for all of them, keyed or not.

        Raises ValueError without training rows that have a label.
        """
        rows = train.select(pl.col(key), pl.col(label).cast(pl.Float64)).drop_nulls(label).sort(key, label)
        if rows.is_empty():
            raise ValueError(f"no training rows to take the mean {label} by {key} of")
        points = [getattr(pl.col(label), point)().alias(point) for point in POINTS]
        everyone = rows.sort(label).select(pl.lit(None, dtype=rows[key].dtype).alias(key), *points)
        return cls(key, pl.concat([rows.drop_nulls(key).group_by(key, maintain_order=True).agg(points), everyone]))

    @property
    def describes(self) -> str:
        """What a report says of it."""
        return f"no model: mean and median by {self.key} on the training days"

    @property
    def statistics(self) -> tuple[str, ...]:
        """Mean and median."""
        return POINTS

    def predict(self, table: pl.DataFrame, statistics: Sequence[str]) -> dict[str, np.ndarray]:
        """The statistics of each row's group (B,), seconds."""
        self.check(statistics)
        everyone = self._of_value.filter(pl.col(self.key).is_null()).row(0, named=True)
        of_value = self._of_value.cast({self.key: table.schema[self.key]})  # a column of nulls is loaded without a type
        found = table.select(self.key).join(of_value, on=self.key, how="left", maintain_order="left")
        return {name: found[name].fill_null(everyone[name]).to_numpy() for name in statistics}

    def save(self, directory: Path) -> None:
        """Write model.json with the groups as columns."""
        directory.mkdir(parents=True, exist_ok=True)
        content = {"model": self.name, "key": self.key, "groups": self._of_value.to_dict(as_series=False)}
        (directory / "model.json").write_text(json.dumps(content) + "\n")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote; raises ValueError naming the file when it is not a model of this class."""
        path = directory / "model.json"
        content = json.loads(path.read_text()) if path.is_file() else {}
        if content.get("model") != cls.name:
            raise ValueError(f"{path}: not a saved {cls.name} model")
        return cls(content["key"], pl.DataFrame(content["groups"]))
