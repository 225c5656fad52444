"""Counts what ingest writes, one day in memory at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import polars as pl

EDGES_S = np.round(np.geomspace(0.01, 2000.0, 54), 4)  # seconds; ten bins a decade


@dataclass
class Counts:
    """Rows, ids, nulls and watch time of the exposures seen so far; `observe` adds a day."""

    days: list[dict[str, Any]] = field(default_factory=list)
    nulls: dict[str, int] = field(default_factory=dict)
    histogram: np.ndarray = field(default_factory=lambda: np.zeros(len(EDGES_S) - 1, dtype=np.int64))
    zeros: int = 0
    user_ids: set[int] = field(default_factory=set)
    video_ids: set[int] = field(default_factory=set)

    def observe(self, day: date, frame: pl.DataFrame) -> None:
        """Add the rows of one local day."""
        watch_s = frame["watch_time_s"].drop_nulls()
        users, videos = frame["user_id"].unique().to_list(), frame["video_id"].unique().to_list()
        self.days.append(
            {
                "date": day.isoformat(),
                "rows": len(frame),
                "users": len(users),
                "new_users": len(set(users) - self.user_ids),
                "videos": len(videos),
                "new_videos": len(set(videos) - self.video_ids),
                "mean_watch_s": watch_s.mean(),
                "median_watch_s": watch_s.median(),
            }
        )
        self.user_ids.update(users)
        self.video_ids.update(videos)
        self.zeros += int((watch_s == 0).sum())
        self.histogram += np.histogram(np.clip(watch_s.to_numpy(), EDGES_S[0], EDGES_S[-1])[watch_s > 0], EDGES_S)[0]
        for name, count in frame.null_count().row(0, named=True).items():
            self.nulls[name] = self.nulls.get(name, 0) + count

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


def null_shares(frame: pl.DataFrame) -> dict[str, float]:
    """Share of nulls by column of a table in memory."""
    return {name: count / max(len(frame), 1) for name, count in frame.null_count().row(0, named=True).items()}
