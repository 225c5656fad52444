"""How a benchmark reports: a table as figures come, then one JSON object, figure -> value, target, unit, better."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured number; `better` says which side of the target is good."""

    value: float
    target: float | None
    unit: str
    better: str = "higher"

    def line(self, name: str) -> str:
        """A line of the table."""
        met = "" if self.target is None else "ok" if self._met() else "MISSED"
        target = "" if self.target is None else f"{self.target:,g}"
        return f"{name:<44}{self.value:>16,.6g} {self.unit:<10}{target:>12}  {met}"

    def _met(self) -> bool:
        assert self.target is not None
        return self.value >= self.target if self.better == "higher" else self.value <= self.target


def report(parts: Iterable[Callable[[], dict[str, Figure]]]) -> None:
    """Measure part after part, printing the table as it grows; the JSON line comes last."""
    print(f"{'figure':<44}{'value':>16} {'unit':<10}{'target':>12}")
    figures: dict[str, Figure] = {}
    for part in parts:
        found = part()
        for name, figure in found.items():
            print(figure.line(name), flush=True)
        figures |= found
    print(json.dumps({name: vars(figure) for name, figure in figures.items()}))
