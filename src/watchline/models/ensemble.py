"""Ensemble: several distribution models as one, whose quantile function is the mean of theirs.

    Q(u) = mean over members of Q_m(u)

Averaging quantiles keeps the shape that members agree on, where averaging their probabilities would widen it; Ratcliff
1979, doi 10.1037/0033-2909.86.3.446, as `Vincentizing`. Median and `quantile:Q` are exactly the mean of the members'
quantiles, and `mean`, being linear in the quantiles, exactly the mean of their means. `expected_rank` and `mean_log`
are the means of the members' too, which is not the same as those of Q but costs no grid. F(y) inverts Q on 43 levels,
linear in between; the half percent at either end lies at the outermost quantiles.

Members are fitted here, with settings of their own, and lie in sub-folders: the saved model is complete by itself.
"""

# N rows, L levels

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
import torch
from pydantic import Field, field_validator

from watchline.config import Config, parse
from watchline.data.columns import Columns
from watchline.data.encoding import Table
from watchline.models import load_model, model_module
from watchline.models.base import DistributionModel, Fit, FitContext
from watchline.models.common import CommonConfig
from watchline.models.grid_distribution import GridDistribution

LEVELS = (0.005, 0.01, *(i / 40 for i in range(1, 40)), 0.99, 0.995)
_ROWS = 8192  # rows whose members' quantiles are in memory at a time


class EnsembleConfig(Config):
    """The members by name, each with its own settings as in its section of conf/train."""

    members: dict[str, dict[str, Any]] = Field(min_length=2, description="method -> its settings")

    @field_validator("members")
    @classmethod
    def _known(cls, members: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, settings in members.items():
            if name == "ensemble" or not issubclass(model_module(name).MODEL, DistributionModel):
                raise ValueError(f"{name} cannot be a member: it has no quantile function of its own to average")
            parse(model_module(name).CONFIG, settings, name)
        return members

    @property
    def configs(self) -> dict[str, Any]:
        """The members' settings, parsed."""
        return {name: parse(model_module(name).CONFIG, settings, name) for name, settings in self.members.items()}

    @property
    def num_shards(self) -> int:
        """What the number of processes must divide: all of the members' num_shards."""
        return math.gcd(*(config.num_shards for config in self.configs.values()))


class EnsembleModel(DistributionModel):
    """Fitted members, in the order of their names, and the column they were fitted to; final."""

    name: ClassVar[str] = "ensemble"
    distributed: ClassVar[bool] = True

    def __init__(self, members: dict[str, DistributionModel], label: str) -> None:
        self.members, self.label = dict(sorted(members.items())), label

    @property
    def statistics(self) -> tuple[str, ...]:
        """The named statistics; besides them any `quantile:Q` with 0 < Q < 1."""
        return ("median", "mean", "expected_rank", "mean_log")

    def predict(self, table: pl.DataFrame, statistics: Sequence[str]) -> dict[str, np.ndarray]:
        """Mean over the members of each statistic, float64 (N,); raises KeyError for one that there is not."""
        self.check(statistics)
        found = [member.predict(table, statistics) for member in self.members.values()]
        return {name: np.mean([values[name] for values in found], axis=0) for name in statistics}

    def cumulative(self, table: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """F(y-) and F(y) of the label y of each labelled row (N,), from the mean quantiles on `LEVELS`.

        The mass outside the outermost levels lies at their quantiles.
        """
        names = [f"quantile:{level}" for level in LEVELS]
        level_L = torch.tensor([0.0, *LEVELS, 1.0], dtype=torch.float64)
        parts = []
        for rows in table.iter_slices(_ROWS):
            found = self.predict(rows, names)
            value_NL = torch.from_numpy(np.stack([found[name] for name in (names[0], *names, names[-1])], axis=1))
            law = GridDistribution(value_NL, level_L.expand(len(rows), -1))
            parts.append(torch.stack(law.cumulative(torch.from_numpy(rows[self.label].to_numpy().astype(float)))))
        below_N, upto_N = torch.cat(parts, dim=1).numpy() if parts else np.zeros((2, 0))
        return below_N, upto_N

    def save(self, directory: Path) -> None:
        """Write model.json, which names the members, and each member into its sub-folder."""
        directory.mkdir(parents=True, exist_ok=True)
        for name, member in self.members.items():
            member.save(directory / name)
        content = {"model": self.name, "members": list(self.members), "label": self.label}
        (directory / "model.json").write_text(json.dumps(content) + "\n")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote; raises ValueError naming the folder of the member that is missing or broken."""
        try:
            content = json.loads((directory / "model.json").read_text())
            names, label = content["members"], content["label"]
        except (OSError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"{directory}: not a saved ensemble ({error!r}); `dvc checkout` restores it") from error
        members: dict[str, DistributionModel] = {}
        for name in names:
            member = load_model(directory / name)
            if not isinstance(member, DistributionModel):
                raise ValueError(f"{directory / name}: a {member.name} model has no quantile function to average")
            members[name] = member
        return cls(members, label)


def fit(
    config: EnsembleConfig, common: CommonConfig, train: Table, valid: Table, columns: Columns, context: FitContext
) -> Fit:
    """Fit the members one after another, each with checkpoints of its own; curves carry the member's name.

    Raises ValueError for a member whose labels are ratios: what is averaged must be in one measure.
    """
    members: dict[str, DistributionModel] = {}
    curves: list[dict[str, float]] = []
    facts: dict[str, Any] = {}
    for name, settings in sorted(config.configs.items()):
        if getattr(settings, "label_per", ""):
            raise ValueError(
                f"train.ensemble.members.{name}.label_per is {settings.label_per!r}: members of an ensemble train on "
                "the label itself; set it to '' there, or leave the member out"
            )
    for name, settings in sorted(config.configs.items()):
        own = replace(
            context,
            run_dir=context.run_dir and context.run_dir / name,
            progress=lambda line, name=name: context.progress(f"{name}: {line}"),  # type: ignore[misc]
        )
        member = model_module(name).fit(settings, common, train, valid, columns, own)
        assert isinstance(member.model, DistributionModel)
        members[name] = member.model
        curves += [{"step": row["step"], **_named(row, name)} for row in member.curves]
        facts |= {f"{name}_{key}": value for key, value in member.facts.items() if key in ("best_step", "parameters")}
    return Fit(EnsembleModel(members, columns.label), curves, facts)


def _named(row: dict[str, float], member: str) -> dict[str, float]:
    """A row of a member's curves under names of the ensemble's own."""
    return {f"{member}_{key}": value for key, value in row.items() if key not in ("step", "epoch")}


CONFIG, MODEL = EnsembleConfig, EnsembleModel
