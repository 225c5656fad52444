"""Names of the statistics a decoding can give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EXPECTATIONS = ("mean", "expected_rank", "mean_log")
PATHS = ("argmax", "window")
STATISTICS = ("median", *EXPECTATIONS, *PATHS)  # and quantile:Q for any Q between 0 and 1


@dataclass(frozen=True)
class Request:
    """Quantile levels, expectations, and whether the likeliest path is walked."""

    levels: tuple[float, ...]
    expectations: tuple[str, ...]
    paths: bool

    @classmethod
    def parse(cls, statistics: Sequence[str]) -> Request:
        """Raises KeyError naming a statistic that there is not."""
        levels = {name: quantile_level(name) for name in statistics}
        others = {name for name, level in levels.items() if level is None}
        unknown = others - {*EXPECTATIONS, *PATHS}
        if unknown:
            known = ", ".join((*STATISTICS, "quantile:Q"))
            raise KeyError(f"no statistic {', '.join(sorted(unknown))}; there are {known}")
        expectations = tuple(name for name in EXPECTATIONS if name in others)
        wanted = sorted({level for level in levels.values() if level is not None})
        return cls(tuple(wanted), expectations, bool(others & set(PATHS)))


def quantile_level(statistic: str) -> float | None:
    """Level of `median` or `quantile:Q`, None for other names; raises KeyError for a level not between 0 and 1."""
    if statistic == "median":
        return 0.5
    if not statistic.startswith("quantile:"):
        return None
    try:
        level = float(statistic.removeprefix("quantile:"))
    except ValueError:
        level = 0.0
    if not 0 < level < 1:
        raise KeyError(f"statistic {statistic!r}: the level must be a number between 0 and 1, such as quantile:0.9")
    return level
