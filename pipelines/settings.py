"""What a flow can be told: typed, checked, and the forms of the UI. Choices are read from dvc.yaml and conf/."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

_ROOT = Path(__file__).resolve().parent.parent
NO_EXPERIMENT = "none"
ALL = "all"
Stage = Literal[tuple(yaml.safe_load((_ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])]  # type: ignore[valid-type]
Experiment = Literal[  # type: ignore[valid-type]
    (NO_EXPERIMENT, *sorted(path.stem for path in (_ROOT / "conf/experiment").glob("*.yaml")))
]
Target = Literal[(ALL, *Stage.__args__)]  # type: ignore[valid-type,attr-defined]
Record = Literal["experiment", "branch", "workspace"]
AUTO = "auto"
_BOARD = yaml.safe_load((_ROOT / "conf/leaderboard.yaml").read_text(encoding="utf-8"))
_SEARCHED = yaml.safe_load((_ROOT / "conf/search.yaml").read_text(encoding="utf-8"))
Protocol = Literal[(AUTO, *_BOARD["protocols"])]  # type: ignore[valid-type]
Method = Literal[(*_SEARCHED["trees"], *_SEARCHED["methods"])]  # type: ignore[valid-type]
_PUSH = "Push outputs to the default DVC remote and the record to the git remote origin, where there are such remotes"
Seconds = Annotated[float, Field(gt=0)]
_BELOW = ("note", "commit", "record", "branch", "push", "stage_timeout_s", "timeouts_s", "timeout_s", "wait_s")
_DAY_S, _HOUR_S = 86400.0, 3600.0


def _order_form(schema: dict[str, Any]) -> None:
    """What to run comes first in the UI's form, below it where the result goes, and the limits.

    The UI goes by `position`; without it a server on PostgreSQL would show the fields in an order of its own.
    """
    fields = schema["properties"]
    below = [name for name in _BELOW if name in fields]
    for position, name in enumerate([*(name for name in fields if name not in below), *below]):
        fields[name]["position"] = position


class Form(BaseModel):
    """What one flow can be told."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_order_form)


class Settings(Form):
    """What every run of the line can be told."""

    experiment: Experiment = Field(
        default=NO_EXPERIMENT, description="Named set of overrides, a file of conf/experiment; none: conf/ as it is"
    )
    overrides: list[str] = Field(
        default=[],
        description="Hydra overrides on top, one each, for example train.gr.width=128 or ingest=kuairand",
    )
    record: Record = Field(
        default="experiment",
        description="Where the result goes. experiment: a DVC experiment, git stays clean; branch: that, and a commit "
        "on a branch; workspace: params.yaml and dvc.lock stay changed, as dvc repro leaves them",
    )
    branch: str = Field(default="watchline-runs", description="The branch of that commit; it is never checked out")
    push: bool = Field(default=False, description=_PUSH)
    stage_timeout_s: Seconds = Field(
        default=6 * 3600,
        title="Time limit of a stage",
        description="Seconds until a stage is stopped and the run fails",
    )
    timeouts_s: dict[Stage, Seconds] = Field(
        default={},
        title="Other time limits",
        description='Seconds by stage, instead of the limit above, for example {"train": 86400, "finetune": 7200}',
    )
    wait_s: float = Field(
        default=6 * 3600,
        ge=0,
        title="Wait for the workspace",
        description="Seconds to wait while another run holds the workspace; then this one fails",
    )

    def timeout_of(self, stage: str) -> float:
        """Limit in seconds of a stage (an item of a matrix has its stage's)."""
        return self.timeouts_s.get(stage.split("@")[0], self.stage_timeout_s)

    @property
    def branch_or_none(self) -> str | None:
        """The branch that results go to; None where they go to none."""
        return self.branch if self.record == "branch" else None

    @property
    def all_overrides(self) -> list[str]:
        """The experiment's override, then the others."""
        named = [] if self.experiment == NO_EXPERIMENT else [f"experiment={self.experiment}"]
        return [*named, *self.overrides]


class RunSettings(Settings):
    """One run with any overrides."""

    target: Target = Field(
        default=ALL, title="Last stage", description="The stage to run, after all it depends on; all: the whole line"
    )


class DailySettings(Settings):
    """The whole line on the window that ends with the newest complete day."""

    push: bool = Field(default=True, description=_PUSH)
    gate: bool = Field(
        default=True, description="At the end the gate judges the new model; one that passes becomes production"
    )


class BackfillSettings(DailySettings):
    """The days from `first` to `last`, or the last `days` complete days of the source, oldest first."""

    first: date | None = Field(
        default=None,
        title="First day",
        description="The window's end in the first run; none: counted back from the last by `days`",
    )
    last: date | None = Field(
        default=None,
        title="Last day",
        description="The window's end in the last run; none: the newest complete day of the source",
    )
    days: int = Field(default=7, ge=1, le=3660, description="How many days, where there is no first day")
    redo: bool = Field(
        default=False, description="Run recorded days again; DVC still skips stages with the same inputs"
    )

    @model_validator(mode="after")
    def _in_order(self) -> BackfillSettings:
        if self.first and self.last and self.first > self.last:
            raise ValueError(f"first {self.first} is after last {self.last}")
        if self.record == "workspace":
            raise ValueError("record: workspace keeps one day only; choose experiment or branch")
        return self


class QueueSettings(Form):
    """Experiments on one protocol of the leaderboard."""

    protocol: Protocol = Field(
        default=AUTO,
        description="Data and split, by conf/leaderboard.yaml; auto: its default where a log is given, else generated",
    )
    data: str = Field(
        default="",
        title="Log",
        description="Folder or archive of the protocol's source; empty: what the protocol names, or generated data",
    )
    overrides: list[str] = Field(
        default=[], description="Hydra overrides of every run on top, one each, for example train.gr.epochs=1"
    )
    timeout_s: Seconds = Field(
        default=2 * _DAY_S, title="Time limit", description="Seconds for all runs of the queue together"
    )
    wait_s: float = Field(
        default=6 * _HOUR_S,
        ge=0,
        title="Wait for others",
        description="Seconds to wait for another leaderboard or search, and for the workspace; then this one fails",
    )

    @property
    def protocol_or_none(self) -> str | None:
        """The protocol that was chosen; None for auto."""
        return None if self.protocol == AUTO else self.protocol


class LeaderboardSettings(QueueSettings):
    """Every method x seeds on one protocol."""


class SearchSettings(QueueSettings):
    """Settings of methods, searched on a protocol's validation days."""

    models: list[Method] = Field(
        default=[], title="Methods", description="Which to search; none: all that conf/search.yaml has a space for"
    )
    keep: bool = Field(
        default=False,
        description="Freeze what was found in conf/searched.yaml and conf/experiment/PROTOCOL_searched.yaml",
    )


class RegistrySettings(Form):
    """A change of the registry."""

    note: str = Field(default="", description="Why, for the history")
    commit: bool = Field(default=True, description="Commit registry/ to git")
    push: bool = Field(
        default=True, description="Push versions to the default DVC remote, the commit to origin's watchline-registry"
    )
    timeout_s: Seconds = Field(default=2 * _HOUR_S, title="Time limit", description="Seconds for one step")


class PromoteSettings(RegistrySettings):
    """A candidate held against production."""

    candidate: str = Field(default="", description="Folder of models/; empty: that of conf/promote.yaml")
    against: Literal["production", "baseline"] = Field(
        default="production",
        description="What it is held against; the baseline where production cannot read the features any more",
    )
    again: bool = Field(
        default=True,
        title="Again after a rollback",
        description="Judge it also where a rollback took these very files out of production, as `daily` does not",
    )
    dry_run: bool = Field(default=False, description="Judge only")


class RollbackSettings(RegistrySettings):
    """One version back."""
