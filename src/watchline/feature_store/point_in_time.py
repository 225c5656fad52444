"""The point-in-time join: for each entity row, the newest feature row at or before its time and not older than ttl."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from watchline.data.schema import TIMESTAMP

_ROW = "__row"
_TIME = "__time"
_KEY = "__key_{}"
_CREATED = "__created"
_KNOWN = "__known"
_RANK = "__rank"
_OF_VIEW = "__of_view"


@dataclass(frozen=True)
class FeatureRows:
    """Rows of one feature view, and how they join.

    `keys` maps the frame's key columns to the entity frame's, `features` its columns to the names in the result.
    Of rows with the same keys and time the one created last counts, then the one that stands last; a null
    `created` counts as earliest. Without keys every entity row sees the same newest row. With `only_if_created` a row
    exists from when it was created on (never, where that is null): what was filled in later is not seen.
    """

    name: str
    frame: pl.DataFrame
    keys: Mapping[str, str]
    features: Mapping[str, str]
    time: str
    created: str | None = None
    ttl: timedelta | None = None
    only_if_created: bool = False


def join_as_of(entities: pl.DataFrame, time: str, views: Sequence[FeatureRows]) -> pl.DataFrame:
    """`entities` with the features of every view appended: all rows kept, in their order.

    A null key or time matches nothing. Raises ValueError when a key column is missing or a feature is named like a
    column that is already there.
    """
    _check_names(entities, time, views)
    by_time = entities.with_columns(to_utc(entities, time).alias(_TIME)).with_row_index(_ROW)
    by_time = by_time.select(_ROW, _TIME, *_key_columns(views)).sort(_TIME, maintain_order=True)
    columns: list[pl.Series] = []
    for view in views:
        columns += _features_of(by_time, view).get_columns()
    restore = by_time[_ROW].arg_sort()
    return entities.with_columns([column.gather(restore) for column in columns])


def newest(frame: pl.DataFrame, keys: Sequence[str], time: str, created: str | None) -> pl.DataFrame:
    """One row per distinct `keys`: the one with the greatest time, then created, then position."""
    order = [time, created] if created else [time]
    ordered = frame.sort(order, nulls_last=False, maintain_order=True)
    if not keys:
        return ordered.tail(1)
    return ordered.unique(subset=list(keys), keep="last", maintain_order=True)


def to_utc(frame: pl.DataFrame, column: str) -> pl.Series:
    """A time column as microseconds UTC (a time without zone is UTC); raises ValueError for any other type."""
    values = frame[column]
    if values.dtype == pl.Date:
        values = values.cast(pl.Datetime("us"))
    if not isinstance(values.dtype, pl.Datetime):
        raise ValueError(f"{column}: expected a time, found {values.dtype}; parse it before the join")
    if values.dtype.time_zone is None:
        values = values.dt.replace_time_zone("UTC")
    return values.cast(TIMESTAMP)


def _key_columns(views: Sequence[FeatureRows]) -> list[str]:
    return list(dict.fromkeys(column for view in views for column in view.keys.values()))


def _features_of(by_time: pl.DataFrame, view: FeatureRows) -> pl.DataFrame:
    left_keys = list(view.keys.values())
    right_keys = [_KEY.format(i) for i in range(len(left_keys))]
    rows = view.frame.select(
        pl.Series(_TIME, to_utc(view.frame, view.time)),
        *(
            pl.col(source).cast(by_time.schema[left]).alias(key)
            for (source, left), key in zip(view.keys.items(), right_keys)
        ),
        *([pl.Series(_CREATED, to_utc(view.frame, view.created))] if view.created else []),
        *(pl.col(source).alias(name) for source, name in view.features.items()),
    ).drop_nulls([_TIME, *right_keys])
    if view.created and view.only_if_created:
        rows, known, ttl = _when_known(rows, right_keys), _KNOWN, None
    else:
        # Of rows of one time an as-of join takes the last: the one created last.
        order = [_TIME, _CREATED] if view.created else [_TIME]
        rows = rows.sort(order, nulls_last=False, maintain_order=True)
        known, ttl = _TIME, view.ttl or None
    joined = by_time.join_asof(
        rows,
        left_on=_TIME,
        right_on=known,
        by_left=left_keys or None,
        by_right=right_keys or None,
        strategy="backward",
        tolerance=ttl,
        check_sortedness=False,
        suffix=_OF_VIEW,
    )
    if known == _KNOWN and view.ttl:
        fresh = pl.col(_TIME) - pl.col(_TIME + _OF_VIEW) <= view.ttl
        joined = joined.with_columns(pl.when(fresh).then(pl.col(name)).alias(name) for name in view.features.values())
    return joined.select(view.features.values())


def _when_known(rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """For each moment at which a key's newest row changes that row, the moment as _KNOWN; sorted by it."""
    ranked = rows.drop_nulls(_CREATED).sort(_TIME, _CREATED, maintain_order=True).with_row_index(_RANK)
    ranked = ranked.with_columns(pl.max_horizontal(_TIME, _CREATED).alias(_KNOWN)).sort(_KNOWN, _RANK)
    best = pl.col(_RANK).cum_max()
    # A row known later than one that is newer never becomes the newest.
    ranked = ranked.filter(pl.col(_RANK) == (best.over(keys) if keys else best))
    return ranked.unique([*keys, _KNOWN], keep="last", maintain_order=True)


def _check_names(entities: pl.DataFrame, time: str, views: Sequence[FeatureRows]) -> None:
    taken = set(entities.columns)
    for view in views:
        missing = sorted({time, *view.keys.values()} - set(entities.columns))
        if missing:
            raise ValueError(f"{view.name}: the entity rows lack {', '.join(missing)}; they have {entities.columns}")
        absent = sorted({view.time, *view.keys, *view.features} - set(view.frame.columns))
        if absent:
            raise ValueError(f"{view.name}: its source lacks {', '.join(absent)}; it has {view.frame.columns}")
        clash = sorted(taken & set(view.features.values()))
        if clash:
            raise ValueError(
                f"{view.name}: {', '.join(clash)} is already a column; rename it or use full_feature_names"
            )
        taken |= set(view.features.values())
