"""Counts what ingest writes: a summary of each day, kept with the day's file, and the sums over days."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

EDGES_S = np.round(np.geomspace(0.01, 2000.0, 54), 4)  # seconds; ten bins a decade
IDS = {"users": "user_id", "videos": "video_id"}


@dataclass(frozen=True)
class DaySummary:
    """What one local day's file holds. The ids are distinct and sorted, so that distinct counts over days are exact."""

    rows: int
    nulls: dict[str, int]  # by column
    histogram: list[int]  # plays above zero by EDGES_S
    zeros: int
    mean_watch_s: float | None
    median_watch_s: float | None
    ids: dict[str, pl.Series]  # "users", "videos"

    @classmethod
    def of(cls, frame: pl.DataFrame) -> DaySummary:
        """Summary of the rows of a day."""
        watch_s = frame["watch_time_s"].drop_nulls()
        plays_s = watch_s.filter((watch_s > 0) & watch_s.is_finite()).clip(EDGES_S[0], EDGES_S[-1]).sort()
        return cls(
            rows=len(frame),
            nulls=frame.null_count().row(0, named=True),
            histogram=_histogram(plays_s.to_numpy()),
            zeros=int((watch_s == 0).sum()),
            mean_watch_s=watch_s.mean(),  # type: ignore[arg-type]
            median_watch_s=watch_s.median(),  # type: ignore[arg-type]
            ids={name: frame[column].unique().sort() for name, column in IDS.items()},
        )

    def save(self, directory: Path) -> None:
        """Write into a folder of its own or the day's."""
        for name, ids in self.ids.items():
            ids.to_frame().write_ipc(directory / f"{name}.arrow", compression="lz4")
        values = {name: value for name, value in vars(self).items() if name != "ids"}
        (directory / "summary.json").write_text(json.dumps(values))

    @classmethod
    def load(cls, directory: Path) -> DaySummary:
        """Read what `save` wrote."""
        ids = {name: pl.read_ipc(directory / f"{name}.arrow").to_series() for name in IDS}
        return cls(**json.loads((directory / "summary.json").read_text()), ids=ids)


@dataclass
class Counts:
    """Rows, ids, nulls and watch time of the exposures seen so far; `observe` adds a day."""

    days: list[dict[str, Any]] = field(default_factory=list)
    nulls: dict[str, int] = field(default_factory=dict)
    histogram: np.ndarray = field(default_factory=lambda: np.zeros(len(EDGES_S) - 1, dtype=np.int64))
    zeros: int = 0
    _seen: dict[str, pl.Series] = field(default_factory=dict)

    def observe(self, day: date, summary: DaySummary) -> None:
        """Add a local day."""
        new = {name: self._add_ids(name, ids) for name, ids in summary.ids.items()}
        self.days.append(
            {
                "date": day.isoformat(),
                "rows": summary.rows,
                "users": len(summary.ids["users"]),
                "new_users": new["users"],
                "videos": len(summary.ids["videos"]),
                "new_videos": new["videos"],
                "mean_watch_s": summary.mean_watch_s,
                "median_watch_s": summary.median_watch_s,
            }
        )
        self.zeros += summary.zeros
        self.histogram += np.array(summary.histogram)
        for name, count in summary.nulls.items():
            self.nulls[name] = self.nulls.get(name, 0) + count

    def num_seen(self, name: str) -> int:
        """Distinct ids of all days; `name` is users or videos."""
        return len(self._seen.get(name, []))

    @property
    def rows(self) -> int:
        """Exposures seen."""
        return sum(day["rows"] for day in self.days)

    @property
    def mean_watch_s(self) -> float:
        """Mean watch time in seconds over all days; 0 when there is no row."""
        return sum(day["rows"] * (day["mean_watch_s"] or 0.0) for day in self.days) / max(self.rows, 1)

    def null_shares(self) -> dict[str, float]:
        """Share of nulls by column."""
        return {name: count / max(self.rows, 1) for name, count in self.nulls.items()}

    def _add_ids(self, name: str, ids: pl.Series) -> int:
        """How many of `ids` no earlier day had."""
        seen = self._seen.get(name, ids.clear())
        new = ids.filter(~ids.is_in(seen.implode(), nulls_equal=True))
        self._seen[name] = pl.concat([seen, new])
        return len(new)


def _histogram(sorted_s: np.ndarray) -> list[int]:
    """Values by EDGES_S, the last bin with its upper edge, as numpy.histogram counts them (it sorts too, slower)."""
    below = np.searchsorted(sorted_s, EDGES_S[:-1])
    counts: list[int] = np.diff(below, append=len(sorted_s)).tolist()
    return counts


def null_shares(frame: pl.DataFrame) -> dict[str, float]:
    """Share of nulls by column of a table in memory."""
    return {name: count / max(len(frame), 1) for name, count in frame.null_count().row(0, named=True).items()}
