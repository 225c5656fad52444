"""Statistics of every entity's exposures before a local day began: what may be known at any moment of that day.

A snapshot is made from sums of whole days (`sums.py`): those of the trailing windows, and one running sum of all days
before. A new day costs a day, whatever the history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import polars as pl

from watchline.data.schema import TIMESTAMP
from watchline.feature_store import sums
from watchline.feature_store.groups import ALL_TIME, GROUPS, Group, Plan, suffix
from watchline.feature_store.sums import Sums

TIME = "event_timestamp"  # when a snapshot becomes known: the start of its local day

# (days before the snapshot's day, sums of what became known on that day), by group; several of a day add up
History = Mapping[str, Sequence[tuple[int, Sums]]]


def known_at(utc_offset_hours: float) -> pl.Expr:
    """When an exposure is over and its watch time known, never before its `date` begins.

    A source's days can follow another clock than its timestamps (KuaiRand rounds the hour up): what is dated to a day
    must not be known on the day before, or splits by `date` would leak.
    """
    watched = (pl.col("watch_time_s") * 1_000_000).ceil().cast(pl.Int64).cast(pl.Duration("us"))
    begins = pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone("UTC") - timedelta(hours=utc_offset_hours)
    return pl.max_horizontal(pl.col("exposed_at") + watched, begins)


def local_day(moment: str, utc_offset_hours: float) -> pl.Expr:
    """Local day of a column of UTC times."""
    return (pl.col(moment) + timedelta(hours=utc_offset_hours)).dt.date()


def start_of_day(day: date, utc_offset_hours: float) -> datetime:
    """The moment a local day begins, UTC."""
    return datetime.combine(day, time(), UTC) - timedelta(hours=utc_offset_hours)


def snapshot(
    day: date, history: History, running: Mapping[str, Sums], plan: Plan, utc_offset_hours: float
) -> dict[str, pl.DataFrame]:
    """A table per group: keys, TIME and statistics as of the start of `day`, sorted by key.

    `running` holds the sums of everything known before `day`, for the groups in `plan.all_time`. An entity has a row
    when it has exposures in its longest window; a pair needs `plan.pair_min_exposures` of them.
    """
    moment = pl.lit(start_of_day(day, utc_offset_hours)).cast(TIMESTAMP).alias(TIME)
    shares: dict[str, tuple[pl.DataFrame, dict[int, np.ndarray]]] = {}
    tables = {}
    for group in GROUPS:
        if plan.needed(group) == [plan.longest]:
            keys, of_window = _in_one_window(history[group.name], group, plan)
        else:
            keys, of_window = _in_windows(history[group.name], running.get(group.name), group, plan)
        if group.pair:
            keys, of_window = _frequent(keys, of_window, plan.pair_min_exposures)
        of_parent = {window: _prior(group, keys, window, of_window, shares) for window in of_window}
        of_each = {w: sums.per_exposure(of_window[w], of_parent[w], plan.strength) for w in of_window}
        if not group.pair:
            shares[group.name] = keys, of_each
        counted = {w: (of_window[w][:, 0], of_each[w]) for w in plan.windows[group.name]}
        tables[group.name] = table_of(keys.with_columns(moment), group, counted, plan)
    return tables


def table_of(
    rows: pl.DataFrame, group: Group, counted: Mapping[int, tuple[np.ndarray, np.ndarray]], plan: Plan
) -> pl.DataFrame:
    """`rows` (keys and time) with the statistics of each window, given its counts (E,) and sums per exposure (E, C).

    Rows without exposures in any of the group's windows are left out.
    """
    columns: list[pl.Series] = []
    for window, (count, shares) in counted.items():
        name = f"{group.prefix}_{{}}_{suffix(window)}".format
        columns.append(pl.Series(name("exposures"), count, dtype=pl.Int64))
        columns += [
            pl.Series(name(statistic), values, dtype=pl.Float64, nan_to_null=True)
            for statistic, values in sums.statistics(shares).items()
        ]
    most = np.max([count for count, _ in counted.values()], axis=0, initial=0)
    return rows.hstack(columns).filter(pl.Series(most >= (plan.pair_min_exposures if group.pair else 1)))


def _in_one_window(
    history: Sequence[tuple[int, Sums]], group: Group, plan: Plan
) -> tuple[pl.DataFrame, dict[int, np.ndarray]]:
    """As `_in_windows` for the longest window alone, in one pass: the way of pairs, which are many."""
    total = sums.merged([part for _, part in history], plan.pair_min_exposures if group.pair else 1)
    return total.keys, {plan.longest: total.values}


def _frequent(
    keys: pl.DataFrame, of_window: Mapping[int, np.ndarray], min_exposures: int
) -> tuple[pl.DataFrame, dict[int, np.ndarray]]:
    """Entities with enough exposures in one of the windows; most pairs have one."""
    enough = np.max([values[:, 0] for values in of_window.values()], axis=0, initial=0) >= min_exposures
    return keys.filter(pl.Series(enough)), {window: values[enough] for window, values in of_window.items()}


def _in_windows(
    history: Sequence[tuple[int, Sums]], running: Sums | None, group: Group, plan: Plan
) -> tuple[pl.DataFrame, dict[int, np.ndarray]]:
    """Entities of the group, and their sums (E, C) in each window that is needed."""
    needed = plan.needed(group)
    keys = sums.union_of_keys([part.keys for _, part in history] + ([running.keys] if running else []))
    total = np.zeros((len(keys), sums.width(group.binned)), dtype=np.int64)
    of_window = {}
    by_age = sorted(history, key=lambda entry: entry[0])
    for window in needed:
        if window == ALL_TIME:
            assert running is not None
            everything = np.zeros_like(total)
            everything[sums.positions(running.keys, keys)] = running.values
            of_window[window] = everything
            continue
        while by_age and by_age[0][0] <= window:
            part = by_age.pop(0)[1]
            total[sums.positions(part.keys, keys)] += part.values
        of_window[window] = total.copy()
    return keys, of_window


def _prior(
    group: Group,
    keys: pl.DataFrame,
    window: int,
    of_window: Mapping[int, np.ndarray],
    shares: Mapping[str, tuple[pl.DataFrame, Mapping[int, np.ndarray]]],
) -> np.ndarray:
    """The parent's sums per exposure for every entity, (E, C) or (1, C); zeros where nobody was exposed."""
    if group.parent is None:
        # Sums of all entities: of all exposures that have the entity (an author may be unknown).
        return np.nan_to_num(sums.per_exposure(of_window[window].sum(axis=0, keepdims=True)))
    parents, of_parent = shares[group.parent]
    return np.nan_to_num(of_parent[window][sums.positions(keys, parents), : sums.width(group.binned)])
