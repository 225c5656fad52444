"""Edits of small text files, for tests of bad input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Change = Callable[[list[str]], list[str]]


def edit(path: Path, change: Change) -> None:
    """Replace the file's lines (header first) by `change(lines)`."""
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def set_cell(column: str, value: str, row: int, separator: str = ",") -> Change:
    """Set one cell; row 1 is the first after the header. Cells before it must hold no quoted separator."""

    def change(lines: list[str]) -> list[str]:
        cells = lines[row].split(separator)
        cells[lines[0].split(separator).index(column)] = value
        return [*lines[:row], separator.join(cells), *lines[row + 1 :]]

    return change
