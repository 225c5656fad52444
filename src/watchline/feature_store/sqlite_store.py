"""Feast online store in one SQLite file, a row per entity.

In feature_store.yaml: ``online_store: {type: watchline.feature_store.sqlite_store.SqliteRowsOnlineStore, path: ...}``.
Feast's own sqlite store keeps a row per entity and feature, three times over (table and two indexes): with a hundred
features it takes three times as long to fill and fifteen times the space (docs/features.md).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from feast import Entity, FeatureView, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from feast.repo_config import FeastConfigBaseModel
from pydantic import StrictStr

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_PARAMETERS = 30_000  # SQLite's limit on placeholders in a statement is 32,766

PackedRow = tuple[bytes, int, bytes]  # entity key, event time in microseconds since 1970, serialised RepeatedValue
Row = tuple[EntityKey, dict[str, Value], datetime, datetime | None]


class SqliteRowsOnlineStoreConfig(FeastConfigBaseModel):
    """Section `online_store` of feature_store.yaml."""

    type: StrictStr = "watchline.feature_store.sqlite_store.SqliteRowsOnlineStore"
    path: StrictStr = "data/online.db"
    """SQLite file, relative to the repository."""


class SqliteRowsOnlineStore(OnlineStore):
    """One table per view: entity key, event time (microseconds), the view's values in the order of its features."""

    _connection: sqlite3.Connection | None = None

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Make a table per view; one whose features have changed starts empty, for its rows mean something else."""
        connection = self._connect(config)
        with connection:
            connection.execute("CREATE TABLE IF NOT EXISTS views (name TEXT PRIMARY KEY, features TEXT) WITHOUT ROWID")
            for view in tables_to_delete:
                connection.execute(f"DROP TABLE IF EXISTS {_table(config, view)}")
                connection.execute("DELETE FROM views WHERE name = ?", (view.name,))
            for view in tables_to_keep:
                features = json.dumps([feature.name for feature in view.features])
                known = connection.execute("SELECT features FROM views WHERE name = ?", (view.name,)).fetchone()
                if known != (features,):
                    connection.execute(f"DROP TABLE IF EXISTS {_table(config, view)}")
                    connection.execute("INSERT OR REPLACE INTO views VALUES (?, ?)", (view.name, features))
                connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {_table(config, view)} "
                    "(key BLOB PRIMARY KEY, time_us INTEGER NOT NULL, features BLOB NOT NULL) WITHOUT ROWID"
                )

    def online_write_batch(
        self, config: RepoConfig, table: FeatureView, data: list[Row], progress: Callable[[int], Any] | None
    ) -> None:
        """Insert or replace one row per entity; an older event time never replaces a newer one."""
        names = [feature.name for feature in table.features]
        self.write_packed(config, table, _packed(config, names, data))
        if progress:
            progress(len(data))

    def write_packed(self, config: RepoConfig, table: FeatureView, rows: Iterable[PackedRow]) -> None:
        """As `online_write_batch`, for rows that are packed already, in one transaction."""
        connection = self._connect(config)
        with connection:
            connection.executemany(
                f"INSERT INTO {_table(config, table)} VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE "
                "SET time_us = excluded.time_us, features = excluded.features WHERE excluded.time_us >= time_us",
                rows,
            )

    def forget(self, config: RepoConfig, table: FeatureView, entity_keys: list[EntityKey]) -> None:
        """Remove the rows of these entities."""
        connection = self._connect(config)
        with connection:
            connection.executemany(
                f"DELETE FROM {_table(config, table)} WHERE key = ?",
                ((packed_key(config, key),) for key in entity_keys),
            )

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """Event time and values of each entity, (None, None) where there is none; in the order of `entity_keys`."""
        names = [feature.name for feature in table.features]
        wanted = set(names if requested_features is None else requested_features)
        keys = [packed_key(config, entity_key) for entity_key in entity_keys]
        rows: dict[bytes, tuple[int, bytes]] = {}
        for start in range(0, len(keys), _MAX_PARAMETERS):
            part = keys[start : start + _MAX_PARAMETERS]
            marks = ",".join("?" * len(part))
            query = f"SELECT key, time_us, features FROM {_table(config, table)} WHERE key IN ({marks})"
            rows |= {key: (time_us, blob) for key, time_us, blob in self._connect(config).execute(query, part)}
        found: list[tuple[datetime | None, dict[str, Value] | None]] = []
        for key in keys:
            if key not in rows:
                found.append((None, None))
                continue
            time_us, blob = rows[key]
            values = RepeatedValue.FromString(blob).val
            moment = _EPOCH + timedelta(microseconds=time_us)
            found.append((moment, {name: value for name, value in zip(names, values) if name in wanted}))
        return found

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        """Close and remove the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        _path(config).unlink(missing_ok=True)

    def _connect(self, config: RepoConfig) -> sqlite3.Connection:
        if self._connection is None:
            path = _path(config)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, check_same_thread=False)
        return self._connection


def _path(config: RepoConfig) -> Path:
    return Path(config.repo_path or ".") / config.online_store.path


def _table(config: RepoConfig, view: FeatureView) -> str:
    name = f"{config.project}_{view.name}".replace('"', '""')
    return f'"{name}"'


def packed_key(config: RepoConfig, entity_key: EntityKey) -> bytes:
    """The key under which the row of an entity lies."""
    version = config.entity_key_serialization_version
    return serialize_entity_key(entity_key, entity_key_serialization_version=version)


def _packed(config: RepoConfig, names: list[str], data: list[Row]) -> Iterator[PackedRow]:
    for entity_key, values, moment, _ in data:
        aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        time_us = (aware - _EPOCH) // timedelta(microseconds=1)
        packed = RepeatedValue(val=[values[name] for name in names])
        yield packed_key(config, entity_key), time_us, packed.SerializeToString()
