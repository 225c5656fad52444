"""One run of the line in a workspace that its flow holds: parameters, stages as tasks, record, gate, artifacts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pipelines.artifacts import first_line, name_flow_run, only_said, publish
from pipelines.dag import command_of, stages_in_order
from pipelines.gate import ask_gate, owe_verdict
from pipelines.logs import log_to
from pipelines.notifications import drift_alarm, tell
from pipelines.params import compose_params
from pipelines.process import run_lines
from pipelines.push import PushError, push
from pipelines.record import Identity, identify, save, save_on_branch
from pipelines.settings import ALL, Settings
from pipelines.stage import StageError, StageResult, run_stage

NEWEST_DAY = "--newest-day"  # with it, the ingest stage's command prints a day and writes nothing
_NEWEST_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Plan:
    """What to run: kind is the first part of the run's name, overrides are all of them, window.end included."""

    kind: str
    settings: Settings
    overrides: Sequence[str]
    target: str = ALL
    gate: bool = False

    @property
    def stage(self) -> str | None:
        """The target as `stages_in_order` takes it."""
        return None if self.target == ALL else self.target


def run_line(root: Path, plan: Plan, named: Callable[[str], None]) -> list[StageResult]:
    """Run the plan's stages, record and publish the result; `named` is told the run's name.

    Raises StageError of the first stage that fails (what ran is published), PushError when only the copies are missing.
    """
    identity = identity_of(root, plan, compose_params(root, plan.overrides))
    named(identity.name)
    name_flow_run(identity.name)
    with log_to(root / "runs/logs" / f"{identity.name}.log"):
        print(f"{identity.name}: commit {identity.commit}, params.yaml {identity.params_hash[:12]}")
        results: list[StageResult] = []
        outcome: list[str] = []
        missing = None
        try:
            for stage, inputs_are_made in stages_in_order(root, plan.stage).items():
                results.append(run_stage(stage, root, plan.settings.timeout_of(stage), alone=inputs_are_made))
                # A cached verdict was told by the run that made it.
                if stage == "drift" and not results[-1].cached and (alarm := drift_alarm(root, identity.name)):
                    tell(alarm)
            if plan.gate:
                owe_verdict(root, identity.name)
            lines, refs = keep(root, plan, identity)
            outcome += lines
            if plan.settings.push and refs:
                missing = copy(root, results, refs, outcome)
            if plan.gate:
                outcome.append(ask_gate(root, identity.name, plan.settings.push))
        except Exception as error:
            with only_said():
                publish(root, identity, plan.overrides, results, [*outcome, f"**failed**: {first_line(error)}"])
            raise
        publish(root, identity, plan.overrides, results, outcome)
        for line in outcome:
            print(line)
        if missing is not None:
            raise missing
    return results


def identity_of(root: Path, plan: Plan, params: Path) -> Identity:
    """Who the plan's run is, given its composed parameters."""
    return identify(root, plan.kind, plan.settings.experiment, plan.stage, params)


def keep(root: Path, plan: Plan, identity: Identity) -> tuple[list[str], list[str]]:
    """Record the result as the settings say; returns a line for each record, and the git refs they are under."""
    if plan.settings.record == "workspace":
        return ["record: params.yaml and dvc.lock of the workspace"], []
    commit, ref = save(root, identity)
    lines = [f"record: DVC experiment `{identity.name}` (`dvc exp apply {identity.name}` brings it back)"]
    refs = [ref]
    if plan.settings.record == "branch":
        tip = save_on_branch(root, identity, commit, plan.settings.branch)
        lines.append(f"record: commit `{tip}` on branch `{plan.settings.branch}`")
        refs.append(f"refs/heads/{plan.settings.branch}")
    return lines, refs


def copy(root: Path, results: Sequence[StageResult], refs: Sequence[str], outcome: list[str]) -> PushError | None:
    """Push, adding to `outcome`; an error is returned, since the gate can do its work without the copies."""
    try:
        reached = push(root, [each.stage for each in results], refs)
    except PushError as error:
        outcome.append(f"**not pushed**: {first_line(error)}")
        return error
    outcome.append(f"pushed to {' and '.join(reached) or 'no remote: there is none'}")
    return None


def newest_day(root: Path, overrides: Sequence[str]) -> date:
    """The newest complete day of the source that `overrides` choose, as the ingest stage's own program says.

    Raises StageError with its last lines when it cannot say.
    """
    compose_params(root, overrides)
    command = f"{command_of(root, 'ingest')} {NEWEST_DAY}"
    done = run_lines(["sh", "-c", command], root, print, _NEWEST_TIMEOUT_S)
    try:
        if done.returncode:
            raise ValueError(f"exit {done.returncode}")
        return date.fromisoformat(done.lines[-1].strip())
    except (ValueError, IndexError) as error:
        tail = "\n".join(done.lines[-15:])
        raise StageError(f"the source's newest day is not known ({command}: {error}); last lines:\n{tail}") from None


def window_end(day: date) -> str:
    """The override that ends the window with `day`."""
    return f"window.end='{day}'"
