"""Statistics of exposures in memory, computed as the features stage does: from day files, through the cache."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from tests.helpers.clean import CONFIG
from watchline.data.day_cache import DayCache
from watchline.data.tables import day_path, days_on_disk, write_parquet
from watchline.feature_store.groups import GROUPS
from watchline.feature_store.history import Exposures
from watchline.feature_store.sources import Statistics


def write_days(exposures: pl.DataFrame, directory: Path) -> Path:
    """A file per date under `directory`; the column `topic` and `author_id` are left to the videos."""
    for (day,), rows in exposures.group_by("date", maintain_order=True):
        write_parquet(rows, day_path(directory, day))  # type: ignore[arg-type]
    return directory


def open_statistics(
    directory: Path, videos: pl.DataFrame, cache: DayCache, offset: float = 0.0, **parameters: Any
) -> Statistics:
    """`videos` gives author and topic; `parameters` stand in place of those of CONFIG."""
    exposures = Exposures(directory, days_on_disk(directory), videos, offset)
    return Statistics(exposures, CONFIG.model_copy(update=parameters), cache)


def statistics_of(
    exposures: pl.DataFrame, days: Sequence[date], scratch: Path, offset: float = 0.0, **parameters: Any
) -> dict[date, dict[str, pl.DataFrame]]:
    """Statistics of each of `days` by group, of exposures that carry `author_id` and `topic`."""
    videos = exposures.select("video_id", "author_id", "topic").unique("video_id")
    directory = write_days(exposures.drop("author_id", "topic"), scratch / "exposures")
    statistics = open_statistics(directory, videos, DayCache(scratch / "cache", "tests"), offset, **parameters)
    return {
        day: {group.name: pl.read_parquet(statistics.entry(day) / f"{group.name}.parquet") for group in GROUPS}
        for day in days
    }
