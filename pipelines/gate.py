"""The seam between `daily` and the gate: pipelines/promote.py, where it is there."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def ask_gate(root: Path, name: str) -> str:
    """Have the gate judge the recorded run `name`; returns its verdict in a line.

    pipelines.promote has `judge(root: Path, name: str) -> str` for it, which raises nothing when it refuses a model: a
    verdict is a result. Without that module the line says that there is no gate.
    """
    if importlib.util.find_spec("pipelines.promote") is None:
        return "gate: none in this project"
    from pipelines import promote

    return f"gate: {promote.judge(root, name)}"
