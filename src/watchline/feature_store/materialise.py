"""Filling the online store: each run writes what differs from what the last one left there, a new day's rows.

What each view was given lies beside the registry, in `materialised/`: the rows themselves. A run compares them with
what holds now, so a new day, a day done anew, a changed profile and an expired entity are all the same to it.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from feast import FeatureStore, FeatureView, Field
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import FeastType, Float64, Int64, String

from watchline.data.schema import TIMESTAMP
from watchline.data.tables import write_parquet
from watchline.feature_store.messages import rows_as_messages, value_of
from watchline.feature_store.point_in_time import to_utc
from watchline.feature_store.snapshots import TIME
from watchline.feature_store.sqlite_store import PackedRow, Row, SqliteRowsOnlineStore, packed_key

_BATCH = 5_000
_PACKED = 20_000  # rows in memory as messages: kilobytes each
_PROBES = 20  # rows of a view that are read back to see that the online store still has what it was given
_TYPE_OF: dict[FeastType, type[pl.DataType]] = {Int64: pl.Int64, Float64: pl.Float64, String: pl.String}
_BEFORE = "__before"


@dataclass(frozen=True)
class Filled:
    """A view in the online store: the entities that have a row, and how many were written and taken away for it."""

    rows: int
    written: int
    removed: int


def materialise(store: FeatureStore, moment: datetime) -> dict[str, Filled]:
    """Make the online store hold, per view, what holds at `moment` (UTC).

    The same rows as `store.materialize` of each view's last ttl into an empty store, in less time: only rows that
    changed are written, and values become protobuf by column and type, not by inspection of each. Rows that have
    expired by then are taken away: reading applies no ttl. A store that has lost its rows is filled anew.
    """
    online: OnlineStore = store._get_provider().online_store
    with _collector_off():
        return {view.name: _fill(store, online, view, moment) for view in store.list_feature_views()}


def _fill(store: FeatureStore, online: OnlineStore, view: FeatureView, moment: datetime) -> Filled:
    path = _state_path(store, view)
    now, before = _newest(store, view, moment), _read_state(path)
    if before is None or before.schema != now.schema or not _holds(store, online, view, before):
        _clear(store, online, view)
        before = now.clear()
    changed, gone, overtaken = _difference(before, now, view.join_keys)
    if len(overtaken) and not _takes_any_time(store, online):
        _clear(store, online, view)
        changed, gone = now, gone.clear()
    if len(changed) or len(gone):
        # A run that is killed half way leaves no state, and the next one fills the view anew.
        path.unlink(missing_ok=True)
        _remove(store, online, view, gone, overtaken, moment)
        _write(store, online, view, changed)
    if len(changed) or len(gone) or not path.is_file():
        write_parquet(now, path)
    return Filled(len(now), len(changed), len(gone))


def _difference(
    before: pl.DataFrame, now: pl.DataFrame, keys: list[str]
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Rows to write; rows of entities that are no more; and of those to write the ones that are not newer."""
    there = before.with_columns(pl.lit(True).alias(_BEFORE))
    pairs = now.join(there, on=keys, how="left", suffix=_BEFORE, maintain_order="left", nulls_equal=True)
    values = [name for name in now.columns if name not in keys]
    known = pl.col(_BEFORE).is_not_null()
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name + _BEFORE)) for name in values)
    changed = pairs.filter(~known | differs)
    overtaken = changed.filter(known, pl.col(TIME) <= pl.col(TIME + _BEFORE))
    gone = before.join(now, on=keys, how="anti", nulls_equal=True)
    return changed.select(now.columns), gone, overtaken.select(now.columns)


def _newest(store: FeatureStore, view: FeatureView, moment: datetime) -> pl.DataFrame:
    """Keys, TIME and features of each entity's newest row that has not expired, sorted by key."""
    source = view.batch_source
    features = [feature.name for feature in view.features]
    job = store._get_provider().offline_store.pull_latest_from_table_or_query(
        config=store.config,
        data_source=source,
        join_key_columns=view.join_keys,
        feature_name_columns=features,
        timestamp_field=source.timestamp_field,
        created_timestamp_column=source.created_timestamp_column or None,
        start_date=moment - view.ttl if view.ttl else datetime(1970, 1, 1, tzinfo=UTC),
        end_date=moment,
    )
    rows = pl.DataFrame(pl.from_arrow(job.to_arrow())).rename({source.timestamp_field: TIME})
    # An offline store that goes through pandas gives whole numbers with nulls as floats, and times without a zone.
    columns = [rows[field.name].cast(_type_of(field)) for field in [*view.entity_columns, *view.features]]
    keys, values = columns[: len(view.join_keys)], columns[len(view.join_keys) :]
    return pl.DataFrame([*keys, to_utc(rows, TIME), *values]).sort(view.join_keys)


def _state_path(store: FeatureStore, view: FeatureView) -> Path:
    """Beside the registry; another online store, or the same at another place, has a state of its own."""
    place = f"{store.project} {store.config.online_store.model_dump_json()}"
    folder = hashlib.blake2b(place.encode(), digest_size=8).hexdigest()
    return Path(store.config.registry.path).parent / "materialised" / folder / f"{view.name}.parquet"


def _read_state(path: Path) -> pl.DataFrame | None:
    if not path.is_file():
        return None
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError):
        return None  # derived from the sources: what cannot be read is made anew


def _holds(store: FeatureStore, online: OnlineStore, view: FeatureView, state: pl.DataFrame) -> bool:
    """Whether the online store has the rows it was given, by a few of them."""
    probes = state.gather_every(max(1, len(state) // _PROBES))
    given = _entity_rows(view, probes)
    found = online.online_read(store.config, view, [key for key, *_ in given])
    # By time and values: redis gives an entity it does not have the time 0 and nulls.
    return all(
        (_utc(time), values) == (time_given, values_given)
        for (time, values), (_, values_given, time_given, _) in zip(found, given)
    )


def _clear(store: FeatureStore, online: OnlineStore, view: FeatureView) -> None:
    online.update(store.config, [view], [], [], [], False)
    online.update(store.config, [], [view], [], [], False)


def _takes_any_time(store: FeatureStore, online: OnlineStore) -> bool:
    """Whether a row can take the place of one that is newer or of the same time, which Feast's stores refuse."""
    return isinstance(online, SqliteRowsOnlineStore) or getattr(store.config.online_store, "skip_dedup", False)


def _remove(
    store: FeatureStore,
    online: OnlineStore,
    view: FeatureView,
    gone: pl.DataFrame,
    overtaken: pl.DataFrame,
    moment: datetime,
) -> None:
    """Take entities away; Feast's stores cannot forget one, so there all its values become null."""
    if isinstance(online, SqliteRowsOnlineStore):
        online.forget(store.config, view, _entity_keys(view, pl.concat([gone, overtaken])))
        return
    features = [feature.name for feature in view.features]
    nulls = gone.with_columns(pl.lit(None, gone.schema[name]).alias(name) for name in features)
    _write(store, online, view, nulls.with_columns(pl.lit(moment).cast(TIMESTAMP).alias(TIME)))


def _write(store: FeatureStore, online: OnlineStore, view: FeatureView, rows: pl.DataFrame) -> None:
    if isinstance(online, SqliteRowsOnlineStore):
        online.write_packed(store.config, view, _packed_rows(store, view, rows))
        return
    for batch in rows.iter_slices(_BATCH):
        online.online_write_batch(store.config, view, _entity_rows(view, batch), None)


def _packed_rows(store: FeatureStore, view: FeatureView, rows: pl.DataFrame) -> Iterator[PackedRow]:
    for part in rows.iter_slices(_PACKED):
        keys = (packed_key(store.config, key) for key in _entity_keys(view, part))
        yield from zip(keys, part[TIME].dt.epoch("us"), rows_as_messages(part, view.features))


def _entity_rows(view: FeatureView, frame: pl.DataFrame) -> list[Row]:
    names = [feature.name for feature in view.features]
    columns = [_values(frame[feature.name], feature.dtype) for feature in view.features]
    features = (dict(zip(names, row)) for row in zip(*columns))
    return [(key, row, time, None) for key, row, time in zip(_entity_keys(view, frame), features, frame[TIME])]


def _entity_keys(view: FeatureView, frame: pl.DataFrame) -> list[EntityKey]:
    columns = [_values(frame[field.name], field.dtype) for field in view.entity_columns]
    join_keys = view.join_keys  # Feast makes and checks this list anew each time it is asked for
    return [EntityKey(join_keys=join_keys, entity_values=values) for values in zip(*columns)]


def _type_of(field: Field) -> type[pl.DataType]:
    if field.dtype not in _TYPE_OF:
        raise ValueError(f"{field.name}: no online form for {field.dtype}; there are {', '.join(map(str, _TYPE_OF))}")
    return _TYPE_OF[field.dtype]


def _values(column: pl.Series, dtype: FeastType) -> list[Value]:
    return [value_of(value, dtype) for value in column]


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


@contextlib.contextmanager
def _collector_off() -> Iterator[None]:
    """No garbage collection: looking for cycles among millions of small values, which have none, doubles the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
