"""The online store with a row per entity: newest wins, changed features start anew, unknown entities are None."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float64, Int64

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
USER = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)


def make_view(directory, *features: str) -> FeatureView:
    path = directory / "empty.parquet"
    pl.DataFrame({"user_id": [1], "ts": [NOON], **{name: [0.0] for name in features}}).write_parquet(path)
    return FeatureView(
        name="u",
        entities=[USER],
        ttl=timedelta(days=1),
        schema=[Field(name="user_id", dtype=Int64), *(Field(name=name, dtype=Float64) for name in features)],
        source=FileSource(name="u_source", path=str(path), timestamp_field="ts"),
    )


def open_store(directory, *features: str) -> FeatureStore:
    config = RepoConfig(
        project="online",
        provider="local",
        registry=str(directory / "registry.db"),
        offline_store={"type": "watchline.feature_store.polars_store.PolarsOfflineStore"},
        online_store={"type": "watchline.feature_store.sqlite_store.SqliteRowsOnlineStore", "path": "online.db"},
        entity_key_serialization_version=3,
        repo_path=directory,
    )
    store = FeatureStore(config=config)
    store.apply([USER, make_view(directory, *features)])
    return store


def key(user_id: int) -> EntityKey:
    return EntityKey(join_keys=["user_id"], entity_values=[Value(int64_val=user_id)])


def write(store: FeatureStore, user_id: int, moment: datetime, **values: float) -> None:
    row = (key(user_id), {name: Value(double_val=value) for name, value in values.items()}, moment, None)
    online = store._get_provider().online_store
    online.online_write_batch(store.config, store.get_feature_view("u"), [row], None)


def read(store: FeatureStore, *user_ids: int, features: list[str] | None = None):
    online = store._get_provider().online_store
    return online.online_read(store.config, store.get_feature_view("u"), [key(i) for i in user_ids], features)


def test_reads_keep_the_order_of_the_keys_and_the_microseconds_of_the_time(tmp_path):
    store = open_store(tmp_path, "a", "b")
    moment = NOON + timedelta(microseconds=7)
    write(store, 1, moment, a=1.0, b=2.0)
    write(store, 2, moment, a=3.0, b=4.0)
    rows = read(store, 2, 9, 1, 2)
    assert [row[0] for row in rows] == [moment, None, moment, moment]
    assert [row[1] and row[1]["b"].double_val for row in rows] == [4.0, None, 2.0, 4.0]
    assert list(read(store, 1, features=["b"])[0][1]) == ["b"]


@pytest.mark.parametrize(
    ("later", "value"), [(timedelta(hours=1), 2.0), (timedelta(0), 2.0), (-timedelta(hours=1), 1.0)]
)
def test_an_older_row_never_replaces_a_newer_one(tmp_path, later, value):
    store = open_store(tmp_path, "a")
    write(store, 1, NOON, a=1.0)
    write(store, 1, NOON + later, a=2.0)
    assert read(store, 1)[0][1]["a"].double_val == value


def test_a_view_whose_features_changed_starts_empty(tmp_path):
    write(open_store(tmp_path, "a", "b"), 1, NOON, a=1.0, b=2.0)
    assert read(open_store(tmp_path, "a", "b"), 1)[0][0] == NOON, "kept while the definition stays"
    assert read(open_store(tmp_path, "b", "a"), 1) == [(None, None)]


def test_more_keys_than_sqlite_takes_in_one_statement(tmp_path):
    store = open_store(tmp_path, "a")
    write(store, 39_999, NOON, a=1.0)
    rows = read(store, *range(40_000))
    assert len(rows) == 40_000 and rows[-1][0] == NOON and rows[0] == (None, None)


def test_teardown_removes_the_file(tmp_path):
    store = open_store(tmp_path, "a")
    assert (tmp_path / "online.db").is_file()
    store.teardown()
    assert not (tmp_path / "online.db").exists()
