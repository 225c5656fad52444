"""Writing the feature sources: one folder of daily statistics per group, one file per profile."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import Field, field_validator

from watchline.config import Config
from watchline.data.day_cache import DayCache, fetch, in_order
from watchline.data.tables import write_parquet
from watchline.feature_store.groups import ALL_TIME, GROUPS, Plan
from watchline.feature_store.history import Exposures, History, read_sums
from watchline.feature_store.profiles import first_tag, user_profiles, video_profiles
from watchline.feature_store.snapshots import snapshot
from watchline.feature_store.updates import updates


class FeaturesConfig(Config):
    """Section `features` of params.yaml."""

    windows: list[int] = Field(min_length=1, description="trailing local days of user, video and author statistics")
    pair_windows: list[int] = Field(min_length=1, description="trailing local days of statistics of pairs of entities")
    all_time: bool = Field(description="also statistics of users, videos and authors since the source's first day")
    pair_all_time: bool = Field(description="also statistics of pairs since the source's first day")
    pair_min_exposures: int = Field(ge=1, description="exposures in its longest window that a pair needs for a row")
    shrinkage: float = Field(ge=0, description="exposures of the parent that each entity's own are joined by")
    freshness: Literal["daily", "event"] = Field(
        description="statistics as of the start of the local day, or also after each exposure that is over"
    )
    online_sample: int = Field(ge=0, description="exposures on which offline and online features are compared")
    store: str = Field(
        default="feature_store.yaml",
        pattern=r"^[\w.-]+\.yaml$",
        description="file of features/ that names the offline and the online store",
    )
    label: str = Field(default="watch_time_s", description="amount of an exposure that models learn to predict")

    @field_validator("windows", "pair_windows")
    @classmethod
    def _ascending(cls, windows: list[int]) -> list[int]:
        if windows != sorted(set(windows)) or windows[0] < 1:
            raise ValueError("whole days, at least 1, ascending and distinct")
        return windows

    @property
    def plan(self) -> Plan:
        """The windows of every group."""
        entity = [*self.windows, *[ALL_TIME] * self.all_time]
        pair = [*self.pair_windows, *[ALL_TIME] * self.pair_all_time]
        windows = {group.name: pair if group.pair else entity for group in GROUPS}
        return Plan(windows, self.shrinkage, self.pair_min_exposures)


def keys_of_videos(videos: pl.DataFrame) -> pl.DataFrame:
    """What an exposure reaches through its video: author and topic (the first tag)."""
    return videos.select("video_id", "author_id", first_tag("tags").alias("topic"))


def write_profiles(users: pl.DataFrame, videos: pl.DataFrame, out: Path) -> dict[str, int]:
    """Write `out`/user_profile.parquet and video_profile.parquet; returns rows per source."""
    rows = {}
    for name, table in (("user_profile", user_profiles(users)), ("video_profile", video_profiles(videos))):
        write_parquet(table, out / f"{name}.parquet")
        rows[name] = table.height
    return rows


class Statistics:
    """The statistics of every day, each made once; `exposures` are clean rows of every day of the source."""

    def __init__(self, exposures: Exposures, config: FeaturesConfig, cache: DayCache) -> None:
        self.exposures, self._config, self._cache = exposures, config, cache
        self._made: list[date] = []
        self._plan = config.plan
        # Two days are made at a time, and the sums before a third: a play over midnight reaches into one date more.
        self._history = History(exposures, cache, held=self._plan.longest + 5)

    @property
    def num_made(self) -> int:
        """Days made by this object rather than fetched."""
        return len(self._made)

    def inputs(self, day: date) -> dict[str, Any]:
        """What the statistics of a day depend on: the files and the parameters."""
        event = self._config.freshness == "event"
        last = day if event else day - timedelta(days=1)
        # Trailing windows of updates are of 24 hours a day: they reach into one day more.
        first = date.min if self._plan.all_time else day - timedelta(days=self._plan.longest + event)
        dates = [other for other in self._history.dates_between(first, last) if other <= day]
        parameters = self._config.model_dump(exclude={"online_sample", "label", "store"})
        return {"statistics": day, "parameters": parameters, **self._history.files(dates)}

    def entry(self, day: date) -> Path:
        """Folder with NAME.parquet of every group: the day's snapshot and, event-fresh, its updates; and rows.json."""
        return self._entry(day, self._running(day))

    def write(self, days: Sequence[date], out: Path) -> dict[str, int]:
        """Write `out`/NAME/DAY.parquet for every group and each of `days`; returns rows per group."""
        rows = dict.fromkeys((group.name for group in GROUPS), 0)
        # The sums before a day need those before the last: they are made in turn, and what is made of them in threads.
        with_running = ((day, self._running(day)) for day in days)
        for day, entry in zip(days, in_order(lambda item: self._entry(*item), with_running)):
            for name, count in json.loads((entry / "rows.json").read_text()).items():
                fetch(entry, f"{name}.parquet", out / name / f"{day.isoformat()}.parquet")
                rows[name] += count
        return rows

    def _running(self, day: date) -> Path | None:
        return self._history.running(day, self._plan.all_time) if self._plan.all_time else None

    def _entry(self, day: date, running: Path | None) -> Path:
        return self._cache.entry(self.inputs(day), partial(self._make, day, running))

    def _make(self, day: date, running_dir: Path | None, out: Path) -> None:
        self._made.append(day)
        running = {name: read_sums(running_dir / f"{name}.arrow") for name in self._plan.all_time if running_dir}
        ages = range(1, self._plan.longest + 1)
        days = [(age, day - timedelta(days=age)) for age in ages]
        trailing = {
            group.name: [
                (age, part) for age, moment in days for part in self._history.known_on(group.name, moment, moment)
            ]
            for group in GROUPS
        }
        offset = self.exposures.utc_offset_hours
        tables = snapshot(day, trailing, running, self._plan, offset)
        if self._config.freshness == "event":
            later = updates(self._recent(day), day, running, self._plan, offset)
            tables = {name: pl.concat([table, later[name]]) for name, table in tables.items()}
        for name, table in tables.items():
            write_parquet(table, out / f"{name}.parquet")
        (out / "rows.json").write_text(json.dumps({name: table.height for name, table in tables.items()}))

    def _recent(self, day: date) -> pl.DataFrame:
        """Exposures that became known on the day or in the trailing windows before it."""
        dates = self._history.dates_between(day - timedelta(days=self._plan.longest + 1), day)
        return self.exposures.read([other for other in dates if other <= day] or self.exposures.days[:1])
