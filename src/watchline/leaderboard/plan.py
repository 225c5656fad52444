"""What a leaderboard was asked to hold: `plan.json` of a folder of runs, written by whoever makes the runs."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field

from watchline.config import Config, ConfigError, parse


class PublishedRow(Config):
    """Numbers of one method as its publication has them; None where it has none."""

    method: str = Field(min_length=1)
    mae_s: float | None = Field(default=None, ge=0)
    xauc: float | None = Field(default=None, ge=0, le=1)


class Published(Config):
    """Published numbers on one split of one dataset. They are shown beside the measured ones and never enter them."""

    block: str = Field(min_length=1)
    data: str = Field(min_length=1, description="dataset, filter and split, in words")
    source: str = Field(min_length=1, description="where the numbers were read")
    caution: str = Field(default="", description="why they may not compare with what is measured here")
    rows: list[PublishedRow] = Field(min_length=1)


class Searched(Config):
    """What a search of settings spent on one method and found, by MAE of its validation rows."""

    fits: int = Field(ge=1)
    before_s: float | None = Field(ge=0, description="MAE of the setting it started from, None where that fit failed")
    after_s: float = Field(ge=0, description="MAE of the setting that was kept")
    setting: dict[str, bool | int | float | str] = Field(description="what was kept, of the keys that were searched")


class Plan(Config):
    """The experiments that belong to one page, and what the page has to say of them."""

    protocol: str = Field(pattern=r"^[a-z0-9_]+$")
    title: str = Field(min_length=1, description="data and split, in words")
    seeds: list[int] = Field(min_length=1)
    models: list[str] = Field(min_length=1, description="methods that every run trains")
    overrides: list[str] = Field(default=[], description="what a run changes of the line's configuration, seeds apart")
    baseline: str = "lightgbm"
    subject: str = Field(default="gr", description="the line's own method: where it is behind is said")
    beside: dict[str, str] = Field(
        default={}, description="models that are no single method on the same rows, and why: shown, but never the best"
    )
    search_budget: str = Field(min_length=1, description="what was spent on choosing settings, per method")
    searched: dict[str, Searched] = Field(default={}, description="method -> its search on this protocol")
    replicates: int = Field(default=4000, ge=100, le=100_000, description="draws of the bootstrap by user")
    bootstrap_seed: int = Field(default=1, ge=0)
    published: list[Published] = []
    failures: dict[int, list[str]] = Field(default={}, description="seed -> last lines of a run that failed")


def read_plan(path: Path) -> Plan:
    """The plan in a JSON file; raises ConfigError naming file, key, rule and value."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; `make leaderboard` writes it before it runs anything")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON ({error}); `make leaderboard` writes it anew") from None
    return parse(Plan, values, str(path))
