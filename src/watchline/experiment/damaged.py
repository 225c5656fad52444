"""Models damaged on purpose: each wraps a fitted model and spoils one property of its predictions, leaving the others.

What is spoiled is known, so a sweep over them shows which property an offline metric sees and which one online tests
see. They give `mean` and `median`, seconds, and are saved like any model: their settings, and the base in a sub-folder.
"""

# B rows

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtri

from watchline.experiment.group_model import POINTS, GroupModel
from watchline.models import load_model
from watchline.models.base import WatchTimeModel

Floats = NDArray[np.float64]

DURATION_S = 30.0  # at which a model biased by duration is not biased


class DamagedModel(WatchTimeModel):
    """Abstract: a base whose `mean` and `median` are spoiled by `damage`. `settings` are what __init__ takes besides.

    describes: what a report says of it.
    """

    def __init__(self, base: WatchTimeModel, **settings: Any) -> None:
        self.base, self.settings = base, settings

    @property
    @abstractmethod
    def describes(self) -> str:
        """What was done to the base, in a few words."""

    @abstractmethod
    def damage(self, table: pl.DataFrame, value_B: Floats) -> Floats:
        """Spoil one statistic (B,), seconds, of the rows of `table`."""

    @property
    def statistics(self) -> tuple[str, ...]:
        """The two that every damaged model gives."""
        return POINTS

    def predict(self, table: pl.DataFrame, statistics: Sequence[str]) -> dict[str, np.ndarray]:
        """Spoiled statistics (B,), seconds; raises KeyError for others than `mean` and `median`."""
        self.check(statistics)
        found = self.base.predict(table, statistics)
        return {name: self.damage(table, found[name].astype(np.float64)) for name in statistics}

    def save(self, directory: Path) -> None:
        """Write the settings to model.json and the base to `base`."""
        self.base.save(directory / "base")
        (directory / "model.json").write_text(json.dumps({"model": self.name, **self.settings}) + "\n")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote; raises ValueError naming the file when it is no model of this class."""
        path = directory / "model.json"
        content = json.loads(path.read_text()) if path.is_file() else {}
        if content.pop("model", None) != cls.name:
            raise ValueError(f"{path}: not a saved {cls.name} model")
        return cls(load_model(directory / "base"), **content)


class NoisyModel(DamagedModel):
    """Every prediction times exp(scale * z), z standard normal from a hash of user and video: wrong alike every time.

    Final. The order suffers as `scale` grows; the level of the median prediction stays.
    """

    name: ClassVar[str] = "noisy"

    def __init__(self, base: WatchTimeModel, scale: float) -> None:
        super().__init__(base, scale=scale)
        self.scale = scale

    @property
    def describes(self) -> str:
        """See `DamagedModel`."""
        return f"times lognormal noise of deviation {self.scale:g}, by a hash of user and video"

    def damage(self, table: pl.DataFrame, value_B: Floats) -> Floats:
        """See the class."""
        noise_B: Floats = np.exp(self.scale * hash_normal(table["user_id"].to_numpy(), table["video_id"].to_numpy()))
        return value_B * noise_B


class ShuffledModel(DamagedModel):
    """The predictions of each user's rows in an order that has nothing to do with the videos; final.

    Each user keeps the right distribution of predictions, over the rows that are asked for together.
    """

    name: ClassVar[str] = "shuffled"

    @property
    def describes(self) -> str:
        """See `DamagedModel`."""
        return "predictions shuffled within each user"

    def damage(self, table: pl.DataFrame, value_B: Floats) -> Floats:
        """See the class."""
        user_B = table["user_id"].to_numpy()
        to_B = np.argsort(user_B, kind="stable")
        from_B = np.lexsort((hash_normal(np.arange(len(user_B)), user_B), user_B))
        shuffled_B = np.empty_like(value_B)
        shuffled_B[to_B] = value_B[from_B]
        return shuffled_B


class LongerModel(DamagedModel):
    """Predictions times (duration / DURATION_S)^power: long videos are overrated. Final.

    Rows without a duration are left as they are. Raises KeyError where the table has no `duration_s`.
    """

    name: ClassVar[str] = "longer"

    def __init__(self, base: WatchTimeModel, power: float) -> None:
        super().__init__(base, power=power)
        self.power = power

    @property
    def describes(self) -> str:
        """See `DamagedModel`."""
        return f"times (duration / {DURATION_S:g} s)^{self.power:g}: long videos are overrated"

    def damage(self, table: pl.DataFrame, value_B: Floats) -> Floats:
        """See the class."""
        if "duration_s" not in table.columns:
            raise KeyError("a model biased by duration needs the column duration_s, which the feature table lacks")
        duration_B = table["duration_s"].cast(pl.Float64).fill_null(DURATION_S).to_numpy()
        return value_B * np.maximum(duration_B / DURATION_S, 1e-3) ** self.power


class ScaledModel(DamagedModel):
    """Predictions times `factor`: the order is the base's, the scale is wrong. Final."""

    name: ClassVar[str] = "scaled"

    def __init__(self, base: WatchTimeModel, factor: float) -> None:
        super().__init__(base, factor=factor)
        self.factor = factor

    @property
    def describes(self) -> str:
        """See `DamagedModel`."""
        return f"times {self.factor:g}: the same order, the wrong scale"

    def damage(self, table: pl.DataFrame, value_B: Floats) -> Floats:
        """See the class."""
        return value_B * self.factor


class RoundedModel(DamagedModel):
    """Predictions rounded to multiples of `step_s`: errors hardly grow, near candidates become ties. Final."""

    name: ClassVar[str] = "rounded"

    def __init__(self, base: WatchTimeModel, step_s: float) -> None:
        super().__init__(base, step_s=step_s)
        self.step_s = step_s

    @property
    def describes(self) -> str:
        """See `DamagedModel`."""
        return f"rounded to {self.step_s:g} s"

    def damage(self, table: pl.DataFrame, value_B: Floats) -> Floats:
        """See the class."""
        return np.round(value_B / self.step_s) * self.step_s


class OneNumberModel(DamagedModel):
    """One statistic of the base for every purpose, as of a model that predicts a single number. Final."""

    name: ClassVar[str] = "one_number"

    def __init__(self, base: WatchTimeModel, statistic: str) -> None:
        super().__init__(base, statistic=statistic)
        self.statistic = statistic

    @property
    def describes(self) -> str:
        """See `DamagedModel`."""
        return f"its {self.statistic} taken for everything"

    def predict(self, table: pl.DataFrame, statistics: Sequence[str]) -> dict[str, np.ndarray]:
        """The base's one statistic under every name."""
        self.check(statistics)
        value_B = self.base.predict(table, [self.statistic])[self.statistic]
        return {name: self.damage(table, value_B) for name in statistics}

    def damage(self, table: pl.DataFrame, value_B: Floats) -> Floats:
        """Nothing more is spoiled."""
        return value_B.astype(np.float64)


def damaged_models(base: WatchTimeModel, train: pl.DataFrame, label: str) -> dict[str, DamagedModel | GroupModel]:
    """The damaged models of a sweep by name; `train`: training rows with video_id, surface and `label`."""
    damaged: dict[str, DamagedModel | GroupModel] = {
        "noise 0.5": NoisyModel(base, 0.5),
        "noise 2": NoisyModel(base, 2.0),
        "shuffled": ShuffledModel(base),
        "scaled": ScaledModel(base, 2.0),
        "rounded": RoundedModel(base, 10.0),
        "mean only": OneNumberModel(base, "mean"),
        "median only": OneNumberModel(base, "median"),
        "by video": GroupModel.fit(train, "video_id", label),
        "by surface": GroupModel.fit(train, "surface", label),
    }
    if "duration_s" in train.columns:
        damaged["longer"] = LongerModel(base, 1.0)
    return damaged


def hash_normal(first_B: NDArray[Any], second_B: NDArray[Any]) -> Floats:
    """A standard normal number for each pair of integers (B,): the same for the same pair, on every machine.

    Reference: Steele, Lea & Flood, Fast splittable pseudorandom number generators (OOPSLA 2014).
    """
    mixed_B = splitmix64(splitmix64(first_B.astype(np.uint64)) ^ second_B.astype(np.uint64))
    normal_B: Floats = ndtri(((mixed_B >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53)
    return normal_B


def splitmix64(value_B: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One step of splitmix64 from each state (B,); wraps at 2^64."""
    value_B = value_B + np.uint64(0x9E3779B97F4A7C15)
    value_B = (value_B ^ (value_B >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value_B = (value_B ^ (value_B >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value_B ^ (value_B >> np.uint64(31))
