"""conf/leaderboard.yaml and conf/published.yaml, typed, and the plan of one protocol that follows from them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipelines.params import compose_params

SEARCHED = "conf/searched.yaml"  # written by `python -m pipelines search --keep`
GENERATED = "generated"  # the protocol that needs no data


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Protocol(_Frozen):
    """Data and split of one page: a title, the Hydra overrides that make them, and blocks of published numbers."""

    title: str = Field(min_length=1)
    overrides: list[str]
    published: list[str] = []


class LeaderboardConfig(_Frozen):
    """The whole of conf/leaderboard.yaml."""

    protocol: str
    seeds: list[int] = Field(min_length=1)
    models: list[str] = Field(min_length=1)
    baseline: str
    subject: str
    replicates: int = Field(ge=100, le=100_000)
    beside: dict[str, str]
    search_budget: str = Field(min_length=1)
    protocols: dict[str, Protocol]

    @model_validator(mode="after")
    def _consistent(self) -> LeaderboardConfig:
        for name in (self.protocol, GENERATED):
            if name not in self.protocols:
                raise ValueError(f"protocol {name!r} is not among protocols: {', '.join(self.protocols)}")
        if "gr" not in self.models:
            raise ValueError("models: gr is missing, which the finetune stage of every run starts from")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: {self.seeds} repeat")
        return self

    def choose(self, asked: str | None, has_data: bool) -> str:
        """The protocol asked for, or the default one where there is data, or the generated one.

        Raises ValueError for a name that is none, and for data that the generated protocol would not read.
        """
        name = asked or (self.protocol if has_data else GENERATED)
        if name not in self.protocols:
            raise ValueError(f"unknown protocol {name!r}; there are {', '.join(self.protocols)}")
        if has_data and name == GENERATED:
            raise ValueError(f"protocol {GENERATED} reads no data; leave out either --data or --protocol {GENERATED}")
        return name


def read_config(root: Path) -> LeaderboardConfig:
    """conf/leaderboard.yaml of the project; raises ValueError with file, key, rule and value of every mistake."""
    path = root / "conf/leaderboard.yaml"
    try:
        return LeaderboardConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        lines = [
            f"{path}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}, got {problem['input']!r}"
            for problem in error.errors()
        ]
        raise ValueError("\n".join(lines)) from None


def plan_of(root: Path, config: LeaderboardConfig, protocol: str, overrides: list[str]) -> dict[str, Any]:
    """plan.json of a protocol (`watchline.leaderboard.plan`); raises ValueError for a block of numbers there is not."""
    chosen = config.protocols[protocol]
    blocks = yaml.safe_load((root / "conf/published.yaml").read_text(encoding="utf-8"))
    unknown = [name for name in chosen.published if name not in blocks]
    if unknown:
        raise ValueError(
            f"conf/leaderboard.yaml: {protocol}.published: no block {', '.join(unknown)} in published.yaml"
        )
    return {
        "protocol": protocol,
        "title": chosen.title,
        "seeds": config.seeds,
        "models": config.models,
        "overrides": [*chosen.overrides, *overrides],
        "baseline": config.baseline,
        "subject": config.subject,
        "beside": config.beside,
        "search_budget": config.search_budget,
        "searched": searched_of(root, protocol, config.models, [*chosen.overrides, *overrides]),
        "replicates": config.replicates,
        "published": [{"block": name, **blocks[name]} for name in chosen.published],
    }


def searched_of(root: Path, protocol: str, models: Sequence[str], overrides: Sequence[str]) -> dict[str, Any]:
    """What conf/searched.yaml says of those of `models` that run with what was found, as the page shows it.

    `overrides` say how they run: a set that was found is used only where the protocol's own set includes it.
    """
    found = searched_protocols(root).get(protocol, {"methods": {}})["methods"]
    if not found:
        return {}
    used = _train_sections(root, overrides)
    return {
        name: {
            "fits": found[name]["fits"],
            "before_s": found[name]["valid_mae_s"]["before"],
            "after_s": found[name]["valid_mae_s"]["after"],
            "setting": found[name]["setting"],
        }
        for name in models
        if name in found and found[name]["setting"].items() <= used[name].items()
    }


def _train_sections(root: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Method -> its settings with `overrides`."""
    with tempfile.TemporaryDirectory(prefix="watchline-plan-") as folder:
        text = compose_params(root, overrides, Path(folder) / "params.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text)["train"])


def searched_protocols(root: Path) -> dict[str, Any]:
    """Protocol -> what was found on it; nothing where nothing was searched."""
    path = root / SEARCHED
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
