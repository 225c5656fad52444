"""conf/search.yaml, typed: where the settings of each method are looked for, and with how many fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
)
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(_Frozen):
    """Either `choices`, or numbers from `low` to `high`, uniform or uniform in the logarithm."""

    choices: list[bool | int | float | str] | None = Field(default=None, min_length=2)
    low: float | None = None
    high: float | None = None
    log: bool = False

    @model_validator(mode="after")
    def _one_kind(self) -> Range:
        if (self.choices is None) == (self.low is None or self.high is None):
            raise ValueError("give either choices, or low and high")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"low={self.low} must be below high={self.high}")
        if self.log and not (self.low or 0) > 0:
            raise ValueError(f"log needs low above 0, got {self.low}")
        return self

    def distribution(self) -> BaseDistribution:
        """What Optuna draws from."""
        if self.choices is not None:
            return CategoricalDistribution(self.choices)
        assert self.low is not None and self.high is not None
        return FloatDistribution(self.low, self.high, log=self.log)


Space = dict[str, Range]


class SearchConfig(_Frozen):
    """The whole of conf/search.yaml."""

    protocol: str
    trials: int = Field(ge=1, le=10_000)
    startup: int = Field(ge=1)
    seed: int = Field(ge=0)
    timeout_s: float = Field(gt=0)
    networks: Space
    methods: dict[str, Space]
    trees: dict[str, Space]

    def space(self, method: str) -> Space:
        """Keys of train.`method` and where to look; raises ValueError for a method that has none."""
        if method in self.methods:
            return {**self.networks, **self.methods[method]}
        if method in self.trees:
            return self.trees[method]
        raise ValueError(f"conf/search.yaml has no space for {method!r}; it has {', '.join(self.all_methods)}")

    @property
    def all_methods(self) -> list[str]:
        """Every method that has a space."""
        return [*self.trees, *self.methods]


def read_search(root: Path) -> SearchConfig:
    """conf/search.yaml of the project; raises ValueError with file, key, rule and value of every mistake."""
    path = root / "conf/search.yaml"
    try:
        return SearchConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise ValueError("\n".join(_lines(path, error))) from None


def _lines(path: Path, error: ValidationError) -> list[str]:
    problems: list[Any] = list(error.errors())
    return [f"{path}: {'.'.join(map(str, one['loc']))}: {one['msg']}, got {one['input']!r}" for one in problems]
