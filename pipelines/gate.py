"""The step between a finished `daily` and production: the flow `promote`."""

from __future__ import annotations

from pathlib import Path


def ask_gate(root: Path, name: str) -> str:
    """Have the gate judge what the run `name` left in the workspace; returns its verdict in a line.

    A refusal is a result and raises nothing.
    """
    from pipelines.promote import promote

    verdict = promote(note=name, root=root)
    return f"gate: **{verdict['status']}** {verdict['text']}"
