"""What every day adds to the sums, and the sums of all days before one: each computed once and kept.

Exposures of one date can become known on later days (a play over midnight), so a date's part says of each sum on which
day it became known. Parts and running sums are entries of the day cache, keyed by the files they come from.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from watchline.data.day_cache import DayCache, digest_of, in_order
from watchline.data.row_hashes import KeyedHashes
from watchline.data.splits import Window
from watchline.data.tables import day_path, history, read_days, read_parquet, scan_days
from watchline.feature_store import sums
from watchline.feature_store.groups import GROUPS
from watchline.feature_store.snapshots import known_at, local_day
from watchline.feature_store.sums import Added, Sums

NEEDED = ["user_id", "video_id", "exposed_at", "date", "surface", "watch_time_s", "duration_s"]
_DAY = "known_day"


class Exposures:
    """Clean exposures on disk, a file per date, with the author and topic of their videos."""

    def __init__(
        self,
        directory: Path,
        days: Sequence[date],
        videos: pl.DataFrame,
        utc_offset_hours: float,
        window: Window | None = None,
    ) -> None:
        """`videos` gives `author_id` and `topic` of each `video_id`; `window.rows` may leave only training rows."""
        self.days, self.utc_offset_hours = list(days), utc_offset_hours
        self._directory, self._videos = directory, videos
        # Of a day's own videos: a video that is new or changed is nothing to the days that did not show it.
        hashes = KeyedHashes(videos, "video_id")
        self.digests = {day: self._digest(day, hashes) for day in self.days}
        self.shared: dict[str, Any] = {"utc_offset_hours": utc_offset_hours}
        self._kept = history(scan_days(directory, days), window) if window else None
        if window and window.rows:
            # The cuts of a chronological split depend on every row of the window.
            chronological = window.rows.kind == "chronological"
            digests = {day.isoformat(): self.digests[day] for day in self.days} if chronological else {}
            self.shared["split"] = {"window": window.model_dump(mode="json"), "files": digests}

    def _digest(self, day: date, videos: KeyedHashes) -> str:
        path = day_path(self._directory, day)
        shown = read_parquet(path, [videos.key]).to_series()
        return digest_of([day.isoformat(), videos.sum_of(shown)], [path])

    def read(self, days: Sequence[date]) -> pl.DataFrame:
        """Exposures of the given dates with the keys of every group."""
        if self._kept is None:
            rows = read_days(self._directory, days, NEEDED)
        else:
            rows = scan_days(self._directory, days).filter(self._kept).select(NEEDED).collect()
        return rows.join(self._videos, on="video_id", how="left", maintain_order="left")


class History:
    """Sums of the exposures by the day on which they became known; threads may ask at the same time."""

    def __init__(self, exposures: Exposures, cache: DayCache, held: int = 12) -> None:
        """`held`: dates whose parts stay in memory; fewer than two days' windows reach into cost a read each time."""
        self._num_held = held
        self.exposures, self._cache = exposures, cache
        self._entries = dict(zip(exposures.days, in_order(self._entry, exposures.days)))
        self._known = {day: self._known_days(entry) for day, entry in self._entries.items()}
        self._held: OrderedDict[date, dict[str, pl.DataFrame]] = OrderedDict()
        self._lock = threading.Lock()

    def dates_between(self, first: date, last: date) -> list[date]:
        """Dates with exposures that became known from `first` to `last`, both inclusive."""
        return [day for day, known in self._known.items() if any(first <= moment <= last for moment in known)]

    def known_on(self, name: str, first: date, last: date) -> list[Sums]:
        """The group's sums of what became known from `first` to `last`, both inclusive: parts that add up.

        An entity can stand more than once in a part of several days.
        """
        dates = self.dates_between(first, last) or self.exposures.days[:1]
        frames = [self._part(day)[name].filter(pl.col(_DAY).is_between(first, last)) for day in dates]
        return [Sums.from_frame(frame.drop(_DAY)) for frame in frames]

    def running(self, day: date, names: Sequence[str]) -> Path:
        """Folder with the sums, NAME.arrow, of everything that became known before `day`."""
        earlier = [other for other in self.exposures.days if other < day]
        inputs = {"running": day, "names": list(names), **self.files(earlier)}
        return self._cache.entry(inputs, partial(self._make_running, day, names))

    def files(self, days: Sequence[date]) -> dict[str, Any]:
        """What results from the exposures of the given dates depends on, for the key of an entry."""
        return {**self.exposures.shared, "exposures": [self.exposures.digests[day] for day in days]}

    def _entry(self, day: date) -> Path:
        return self._cache.entry(self._inputs(day), partial(self._make, day))

    def _inputs(self, day: date) -> dict[str, Any]:
        return {"part": day, **self.files([day])}

    def _make(self, day: date, out: Path) -> None:
        rows = self.exposures.read([day])
        offset = self.exposures.utc_offset_hours
        rows = rows.with_columns(known_at(offset).alias("__known")).with_columns(
            local_day("__known", offset).alias(_DAY)
        )
        added = Added(rows)
        for group in GROUPS:
            part = added.by_entity([_DAY, *group.keys], group.binned)
            _write(part, out / f"{group.name}.arrow")
        days = rows[_DAY].unique().sort().to_list()
        (out / "known_days.json").write_text(json.dumps([moment.isoformat() for moment in days]))

    def _make_running(self, day: date, names: Sequence[str], out: Path) -> None:
        """The running sums at the date before, and what became known since then."""
        earlier = [other for other in self.exposures.days if other < day]
        before = self.running(earlier[-1], names) if earlier else None
        first = earlier[-1] if earlier else date.min
        for name in names:
            parts = self.known_on(name, first, day - timedelta(days=1))
            if before:
                parts.append(read_sums(before / f"{name}.arrow"))
            _write(sums.merged(parts), out / f"{name}.arrow")

    def _part(self, day: date) -> dict[str, pl.DataFrame]:
        with self._lock:
            if day not in self._held:
                entry = self._entries[day]
                self._held[day] = {group.name: pl.read_ipc(entry / f"{group.name}.arrow") for group in GROUPS}
                if len(self._held) > self._num_held:
                    self._held.popitem(last=False)
            self._held.move_to_end(day)
            return self._held[day]

    @staticmethod
    def _known_days(entry: Path) -> list[date]:
        return [date.fromisoformat(text) for text in json.loads((entry / "known_days.json").read_text())]


def read_sums(path: Path) -> Sums:
    """Sums that this module wrote."""
    return Sums.from_frame(pl.read_ipc(path))


def _write(entities: Sums, path: Path) -> None:
    # Arrow: these files are read again and again, by this package alone, and Parquet takes two to three times as long.
    entities.to_frame().write_ipc(path, compression="lz4")
