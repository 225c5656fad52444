"""Statistics after each exposure that is over: the freshest there can be, for stores that are fed by a stream.

Definitions and columns are those of the snapshots; the trailing windows are of 24 hours a day and end at the exposure.
N rows, E events of one day, C sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

import numpy as np
import polars as pl

from watchline.data.schema import TIMESTAMP
from watchline.feature_store import sums
from watchline.feature_store.groups import ALL_TIME, GROUPS, Group, Plan
from watchline.feature_store.snapshots import TIME, known_at, local_day, start_of_day, table_of
from watchline.feature_store.sums import Sums

_KNOWN = "known_at"
_DAY_US = 86_400_000_000


class _Timeline:
    """Running sums of each entity's exposures in the order in which they became known."""

    def __init__(self, rows: pl.DataFrame, keys: tuple[str, ...], binned: bool, running: Sums | None) -> None:
        rows = rows.drop_nulls(list(keys))
        self.entities = sums.union_of_keys([rows.select(keys)]) if keys else pl.DataFrame()
        known = _microseconds(rows[_KNOWN])
        self._origin, last = (int(known.min()), int(known.max())) if len(rows) else (0, 0)
        self._stride = last - self._origin + 2
        rows = rows[np.lexsort((known, self._codes(rows)))]
        self._places = self._place(self._codes(rows), _microseconds(rows[_KNOWN]))
        added = sums.Added(rows).by_row(binned)
        self._upto = np.concatenate([np.zeros((1, added.shape[1]), dtype=np.int64), np.cumsum(added, axis=0)])
        self._before = self._running(running)

    def window(self, events: pl.DataFrame, window: int, day_start: int) -> np.ndarray:
        """Sums (E, C) of the event's entity in the window that ends at the event, inclusive."""
        codes, known = self._codes(events), _microseconds(events[_KNOWN])
        end = np.searchsorted(self._places, self._place(codes, known), side="right")
        if window == ALL_TIME:
            begin = np.searchsorted(self._places, self._place(codes, np.full_like(known, day_start)), side="left")
            assert self._before is not None
            return self._before[codes] + np.where((end > begin)[:, None], self._upto[end] - self._upto[begin], 0)
        begin = np.searchsorted(self._places, self._place(codes, known - window * _DAY_US), side="right")
        return self._upto[end] - self._upto[begin]

    def _codes(self, rows: pl.DataFrame) -> np.ndarray:
        return sums.positions(rows, self.entities) if self.entities.width else np.zeros(len(rows), dtype=np.int64)

    def _place(self, codes: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Numbers in the order of (entity, time); times from before the first row count as just before it."""
        return codes * self._stride + np.maximum(known - self._origin, -1) + 1

    def _running(self, running: Sums | None) -> np.ndarray | None:
        """Sums (entities, C) from before the day; without keys those of all entities together."""
        if running is None:
            return None
        if not self.entities.width:
            return running.values.sum(axis=0, keepdims=True)
        before = np.zeros((len(self.entities), running.values.shape[1]), dtype=np.int64)
        places = sums.positions(running.keys, self.entities)
        before[places[places >= 0]] = running.values[places >= 0]
        return before


def updates(
    rows: pl.DataFrame, day: date, running: Mapping[str, Sums], plan: Plan, utc_offset_hours: float
) -> dict[str, pl.DataFrame]:
    """Per group the statistics as they are after each exposure that is over on `day`, in the columns of `snapshot`.

    `rows` are exposures with the keys of every group: all that became known on `day` or less than `plan.longest` days
    before it, and they may be more. A row's TIME is a microsecond after the exposure became known: a join as of that
    very moment does not see it. Exposures that become known together give one row. Sorted by TIME, then key.
    """
    begins = start_of_day(day, utc_offset_hours)
    known = rows.with_columns(known_at(utc_offset_hours).cast(TIMESTAMP).alias(_KNOWN)).filter(
        pl.col(_KNOWN).is_between(begins - timedelta(days=plan.longest + 1), begins + timedelta(days=1), closed="left")
    )
    just_after = (pl.col(_KNOWN) + timedelta(microseconds=1)).alias(TIME)
    events = known.with_columns(just_after).filter(local_day(TIME, utc_offset_hours) == day)
    start = round(begins.timestamp() * 1_000_000)
    roots: dict[str, tuple[_Timeline, _Timeline]] = {}  # entity by entity, and all of them together
    tables = {}
    for group in GROUPS:
        keys = list(group.keys)
        timeline = _Timeline(known, group.keys, group.binned, running.get(group.name))
        if group.parent is None:
            everybody = _Timeline(known.drop_nulls(keys), (), group.binned, running.get(group.name))
            roots[group.name] = timeline, everybody
        moments = events.drop_nulls(keys).select(*keys, TIME, _KNOWN).unique().sort(TIME, *keys)
        counted = {}
        for window in plan.windows[group.name]:
            own = timeline.window(moments, window, start)
            prior = _prior(group, roots, moments, window, start, plan.strength)
            counted[window] = own[:, 0], sums.per_exposure(own, prior[:, : own.shape[1]], plan.strength)
        tables[group.name] = table_of(moments.drop(_KNOWN), group, counted, plan)
    return tables


def _prior(
    group: Group,
    roots: Mapping[str, tuple[_Timeline, _Timeline]],
    moments: pl.DataFrame,
    window: int,
    day_start: int,
    strength: float,
) -> np.ndarray:
    """The parent's sums per exposure at each event, (E, C)."""
    timeline, everybody = roots[group.parent or group.name]
    of_all = np.nan_to_num(sums.per_exposure(everybody.window(moments, window, day_start)))
    if group.parent is None:
        return of_all
    return np.nan_to_num(sums.per_exposure(timeline.window(moments, window, day_start), of_all, strength))


def _microseconds(times: pl.Series) -> np.ndarray:
    return times.dt.epoch("us").to_numpy()
