"""The feature table, a file per local day, each joined through Feast once and kept."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Sequence
from datetime import date, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from feast import FeatureStore

from watchline.data.day_cache import DayCache, digest_of, fetch
from watchline.data.row_hashes import KeyedHashes
from watchline.data.tables import day_path, read_days, read_parquet, write_parquet
from watchline.feature_store.groups import GROUPS
from watchline.feature_store.join import join
from watchline.feature_store.repository import open_store
from watchline.feature_store.snapshots import local_day
from watchline.feature_store.sources import Statistics
from watchline.feature_store.table import DayCounts, columns_of, labelled, write_schema

_TABLE, _SCHEMA, _COUNTS = "part-0.parquet", "schema.json", "counts.json"


class JoinedDays:
    """Days of the feature table, joined from `sources` by the repository's offline store; closes with its block."""

    def __init__(self, repo: Path, tables: Path, sources: Path, statistics: Statistics, label: str) -> None:
        self._repo, self._tables, self._sources = repo, tables, sources
        self._statistics, self._exposures, self._label = statistics, statistics.exposures, label
        folder = repo.parent if repo.suffix == ".yaml" else repo
        definitions = sorted([*folder.glob("*.py"), *folder.glob("*.yaml")])
        self._profiles = [
            KeyedHashes(read_parquet(tables / f"{name}s.parquet"), f"{name}_id") for name in ("user", "video")
        ]
        self._shared = {"label": label, "files": digest_of([repo.name, version("feast")], definitions)}
        self._open = contextlib.ExitStack()
        self._staging: Path | None = None
        self._store: FeatureStore | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def write(self, days: Sequence[date], out: Path, cache: DayCache) -> list[DayCounts]:
        """Write `out`/table, a file per day with rows in the exposures' order, and `out`/schema.json."""
        counts = []
        for day in days:
            entry = cache.entry(self._inputs(day), partial(self._make, day))
            fetch(entry, _TABLE, day_path(out / "table", day))
            fetch(entry, _SCHEMA, out / _SCHEMA)
            counts.append(DayCounts.read(day, entry / _COUNTS))
        return counts

    def _inputs(self, day: date) -> dict[str, Any]:
        statistics = [self._statistics.inputs(other) for other in self._days_read(day)]
        exposures = read_parquet(day_path(self._tables / "exposures", day), [hashes.key for hashes in self._profiles])
        profiles = [hashes.sum_of(exposures[hashes.key]) for hashes in self._profiles]
        own = {"exposures": self._exposures.digests[day], "profiles": profiles, "statistics": statistics}
        return {"table": day, **own, **self._shared}

    def _days_read(self, day: date) -> list[date]:
        """Days whose statistics the exposures of a date may get: a date can differ from the day of its timestamps.

        A snapshot still holds at the very end of its day, so the day before counts too.
        """
        times = read_days(self._tables / "exposures", [day], ["exposed_at"])
        moments = times.select(local_day("exposed_at", self._exposures.utc_offset_hours)).to_series()
        first, last = moments.min(), moments.max()
        assert isinstance(first, date) and isinstance(last, date)
        return [first + timedelta(days=i) for i in range(-1, (last - first).days + 1)]

    def _make(self, day: date, out: Path) -> None:
        exposures = read_parquet(day_path(self._tables / "exposures", day))
        store = self._store_of(self._days_read(day))
        table = join(store, labelled(exposures, self._label), self._exposures.utc_offset_hours)
        columns = columns_of(table, self._label)
        write_parquet(table, out / _TABLE)
        write_schema(columns, self._exposures.utc_offset_hours, out / _SCHEMA)
        DayCounts.of(day, table, columns).write(out / _COUNTS)

    def _store_of(self, days: Sequence[date]) -> FeatureStore:
        """The store, reading the statistics of the given days and no other: joining a day costs a day."""
        if self._staging is None:
            self._staging = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="watchline-join-")))
        staged = self._staging / "sources"
        shutil.rmtree(staged, ignore_errors=True)
        for group in GROUPS:
            (staged / group.name).mkdir(parents=True)
            files = [self._sources / group.name / f"{day.isoformat()}.parquet" for day in days]
            for file in [file for file in files if file.is_file()]:
                (staged / group.name / file.name).symlink_to(file.resolve())
        for profile in self._sources.glob("*.parquet"):
            (staged / profile.name).symlink_to(profile.resolve())
        if self._store is None:
            self._store = self._open.enter_context(open_store(self._repo, self._staging))
        return self._store
