"""What killed a run, or a process of it, said where people look: in its log, and on the page of the run that goes on.

A run and its repeat have one name, so what befell the first is told by the second.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path


def note(root: Path, run: str, text: str) -> None:
    """Add `text` to the interruptions of the run of that name, and to its log."""
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    _append(_place(root, run), f"{stamp} {text}\n")
    _append(root / "runs/logs" / f"{run}.log", f"{stamp} WARNING {text}\n")


def interruptions(root: Path, run: str) -> list[str]:
    """All of them, oldest first, each with its time (UTC)."""
    place = _place(root, run)
    return place.read_text(encoding="utf-8").splitlines() if place.is_file() else []


def _place(root: Path, run: str) -> Path:
    return root / "runs/interruptions" / run


def _append(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(line)
