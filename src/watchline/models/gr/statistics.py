"""Names of the statistics a decoding can give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from watchline.models.base import quantile_level

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
