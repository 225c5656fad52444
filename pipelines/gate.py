"""The step between a finished `daily` and production: the flow `promote`."""

from __future__ import annotations

from pathlib import Path

from pipelines.settings import PromoteSettings

_OWED = "runs/not_judged"


def owe_verdict(root: Path, name: str) -> None:
    """Note, before the run `name` is recorded, that the gate has not judged it yet: the process may die in between."""
    (root / _OWED).mkdir(parents=True, exist_ok=True)
    (root / _OWED / name).touch()


def is_owed(root: Path, name: str) -> bool:
    """Whether the run `name` ended before the gate that it was to ask had judged it."""
    return (root / _OWED / name).is_file()


def ask_gate(root: Path, name: str, push: bool) -> str:
    """Have the gate judge what the run `name` left in the workspace; returns its verdict in a line.

    A refusal is a result and raises nothing; files that a rollback took out of production are refused. With `push` the
    files of a promoted version and the registry's commit go to the remotes, also where an earlier run promoted it and
    they did not get there; a remote that does not take them is said in the line.
    """
    from pipelines.promote import promote

    gate = promote.with_options(name="gate", flow_run_name=f"gate of {name}")
    verdict = gate(PromoteSettings(note=name, push=push, again=False), root)
    (root / _OWED / name).unlink(missing_ok=True)
    missing = f" **registry not pushed**: {verdict['not_pushed']}" if "not_pushed" in verdict else ""
    return f"gate: **{verdict['status']}** {verdict['text']}{missing}"
