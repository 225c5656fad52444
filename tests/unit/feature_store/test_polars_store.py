"""The Polars offline store gives what Feast's DuckDB store gives, on small random cases full of edges."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    RepoConfig,
    RequestSource,
    ValueType,
)
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination, SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String

from watchline.data.tables import TableError

POLARS = "watchline.feature_store.polars_store.PolarsOfflineStore"
START = datetime(2024, 3, 1, tzinfo=UTC)
REFS = ["u:a", "u:b", "us:c", "us:w", "forever:g", "scaled:a_twice", "scaled:a_plus_bias"]


def at(hours: float) -> datetime:
    return START + timedelta(hours=float(hours))


def source_rows(rng: np.random.Generator, num_rows: int, columns: dict[str, int], features: list[str]) -> pl.DataFrame:
    """Rows with few distinct keys and whole hours, so that gaps, ties and late corrections occur."""
    data: dict[str, object] = {name: rng.integers(0, size, num_rows) for name, size in columns.items()}
    hours = rng.integers(0, 60, num_rows)
    data["ts"] = [at(h) for h in hours]
    # distinct created times: the winner of a tie is defined
    data["made"] = [at(h) + timedelta(seconds=int(s)) for h, s in zip(hours, rng.permutation(num_rows))]
    for i, name in enumerate(features):
        data[name] = [None if rng.random() < 0.1 else float(v) for v in rng.normal(i, 1, num_rows).round(3)]
    return pl.DataFrame(data)


def write_sources(directory: Path, rng: np.random.Generator) -> None:
    source_rows(rng, 60, {"user_id": 5}, ["a", "b"]).write_parquet(directory / "u.parquet")
    by_surface = source_rows(rng, 60, {"uid": 5, "surface": 3}, ["c", "old_w"])
    by_surface.with_columns(pl.col("old_w").cast(pl.Int64)).write_parquet(directory / "us.parquet")
    source_rows(rng, 8, {"user_id": 5}, ["g"]).drop("made").unique(["user_id", "ts"], maintain_order=True).with_columns(
        pl.col("g").cast(pl.String)
    ).write_parquet(directory / "forever.parquet")


def definitions(directory: Path) -> list:
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
    surface = Entity(name="surface", join_keys=["surface"], value_type=ValueType.INT64)
    u = FeatureView(
        name="u",
        entities=[user],
        ttl=timedelta(hours=6),
        schema=[Field(name="user_id", dtype=Int64), Field(name="a", dtype=Float64), Field(name="b", dtype=Float64)],
        source=FileSource(
            name="u_src", path=str(directory / "u.parquet"), timestamp_field="ts", created_timestamp_column="made"
        ),
    )
    us = FeatureView(
        name="us",
        entities=[user, surface],
        ttl=timedelta(hours=24),
        schema=[Field(name=n, dtype=Int64) for n in ("user_id", "surface", "w")] + [Field(name="c", dtype=Float64)],
        source=FileSource(
            name="us_src",
            path=str(directory / "us.parquet"),
            timestamp_field="ts",
            created_timestamp_column="made",
            field_mapping={"uid": "user_id", "old_w": "w"},
        ),
    )
    forever = FeatureView(
        name="forever",
        entities=[user],
        ttl=timedelta(0),
        schema=[Field(name="user_id", dtype=Int64), Field(name="g", dtype=String)],
        source=FileSource(name="forever_src", path=str(directory / "forever.parquet"), timestamp_field="ts"),
    )

    @on_demand_feature_view(
        name="scaled",
        sources=[u, RequestSource(name="request", schema=[Field(name="bias", dtype=Float64)])],
        schema=[Field(name="a_twice", dtype=Float64), Field(name="a_plus_bias", dtype=Float64)],
    )
    def scaled(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"a_twice": inputs["a"] * 2, "a_plus_bias": inputs["a"] + inputs["bias"]})

    return [user, surface, u, us, forever, scaled]


def open_store(directory: Path, offline: str) -> FeatureStore:
    config = RepoConfig(
        project="parity",
        provider="local",
        registry=str(directory / f"{offline[-20:]}.db"),
        offline_store={"type": offline},
        online_store={"type": "sqlite", "path": str(directory / f"{offline[-20:]}-online.db")},
        materialization={"pull_latest_features": True},
        entity_key_serialization_version=3,
        repo_path=directory,
    )
    store = FeatureStore(config=config)
    store.apply(definitions(directory))
    return store


def entity_rows(rng: np.random.Generator, num_rows: int) -> pd.DataFrame:
    """Keys partly unknown to every source, times in no order, some exactly at a feature's time or at its ttl."""
    return pd.DataFrame(
        {
            "row": np.arange(num_rows),
            "user_id": rng.integers(0, 7, num_rows),
            "surface": rng.integers(0, 4, num_rows),
            "event_timestamp": pd.to_datetime([at(h) for h in rng.integers(-2, 70, num_rows)]),
            "bias": rng.normal(size=num_rows).round(3),
        }
    )


def both(directory: Path, seed: int, full_feature_names: bool) -> tuple[pl.DataFrame, pl.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    write_sources(directory, rng)
    entities = entity_rows(rng, 80)
    tables = []
    for offline in (POLARS, "duckdb"):
        job = open_store(directory, offline).get_historical_features(entities.copy(), REFS, full_feature_names)
        tables.append(pl.DataFrame(pl.from_arrow(job.to_arrow())))
    ours, theirs = tables
    return ours, theirs.sort("row"), entities


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("full_feature_names", [False, True])
def test_values_equal_those_of_feast_on_duckdb(tmp_path, seed, full_feature_names):
    ours, theirs, entities = both(tmp_path, seed, full_feature_names)
    assert ours["row"].to_list() == entities["row"].to_list(), "rows kept, in order"
    assert set(ours.columns) == set(theirs.columns)
    features = [name for name in ours.columns if name not in entities.columns]
    assert len(features) == len(REFS)
    for name in features:
        assert ours[name].null_count() < ours.height, f"{name}: the case tests nothing"
        assert ours[name].to_list() == theirs[name].to_list(), name
    assert ours[features[0]].null_count() > 0


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    write_sources(tmp_path, np.random.default_rng(99))
    return open_store(tmp_path, POLARS)


def test_ttl_is_inclusive_and_a_feature_row_at_the_event_itself_counts(tmp_path):
    write_sources(tmp_path, np.random.default_rng(0))
    rows = pl.DataFrame(
        {"user_id": [1], "ts": [at(10)], "made": [at(10)], "a": [5.0], "b": [None]}, schema_overrides={"b": pl.Float64}
    )
    rows.write_parquet(tmp_path / "u.parquet")
    entities = pl.DataFrame(
        {
            "user_id": 1,
            "event_timestamp": [at(10), at(16), at(10) - timedelta(microseconds=1), at(16) + timedelta(microseconds=1)],
        }
    )
    values = open_store(tmp_path, POLARS).get_historical_features(entities, ["u:a"]).to_polars()["a"].to_list()
    assert values == [5.0, 5.0, None, None]


def test_polars_pandas_and_arrow_entities_give_the_same_table(store):
    entities = entity_rows(np.random.default_rng(3), 30)
    frames = [entities, pl.from_pandas(entities), pl.from_pandas(entities).to_arrow()]
    first, *others = (store.get_historical_features(frame, REFS).to_polars() for frame in frames)
    assert all(first.equals(other) for other in others)


def test_values_after_the_event_never_enter(tmp_path):
    cut = at(30)
    rng = np.random.default_rng(5)
    write_sources(tmp_path, rng)
    entities = pl.from_pandas(entity_rows(rng, 60)).filter(pl.col("event_timestamp") < cut)
    before = open_store(tmp_path, POLARS).get_historical_features(entities, REFS).to_polars()
    for path in tmp_path.glob("*.parquet"):
        table = pl.read_parquet(path)
        numbers = [name for name, dtype in table.schema.items() if dtype == pl.Float64]
        poisoned = (
            table.with_columns(pl.when(pl.col("ts") >= cut).then(-1e9).otherwise(pl.col(numbers)).name.keep())
            if numbers
            else table
        )
        poisoned.write_parquet(path)
    after = open_store(tmp_path, POLARS).get_historical_features(entities, REFS).to_polars()
    assert before.equals(after)
    planted = pl.read_parquet(tmp_path / "u.parquet").with_columns(pl.col("ts") - timedelta(hours=40), a=pl.lit(-1e9))
    planted.write_parquet(tmp_path / "u.parquet")
    leaked = open_store(tmp_path, POLARS).get_historical_features(entities, REFS).to_polars()
    assert not before.equals(leaked), "a planted leak is seen"


def test_join_key_maps_and_aliases_of_a_view(store):
    entities = pl.DataFrame({"viewer": [1, 2], "user_id": [3, 4], "event_timestamp": [at(40), at(40)]})
    view = store.get_feature_view("forever")
    seen_by = view.with_name("seen_by").with_join_key_map({"user_id": "viewer"})
    service = FeatureService(name="aliased", features=[seen_by, view.with_name("own")])
    store.apply(service)
    table = store.get_historical_features(entities, service, full_feature_names=True).to_polars()
    for column, key in (("seen_by__g", "viewer"), ("own__g", "user_id")):
        plain = entities.select(user_id=key, event_timestamp="event_timestamp")
        expected = store.get_historical_features(plain, ["forever:g"]).to_polars()["g"]
        assert table[column].to_list() == expected.to_list()


def test_pull_latest_and_pull_all_read_the_time_range(store, tmp_path):
    provider = store._get_provider().offline_store
    source = store.get_feature_view("u").batch_source
    arguments = {
        "join_key_columns": ["user_id"],
        "feature_name_columns": ["a"],
        "timestamp_field": "ts",
        "created_timestamp_column": "made",
    }
    rows = pl.read_parquet(tmp_path / "u.parquet").filter(pl.col("ts").is_between(at(5), at(30)))
    everything = provider.pull_all_from_table_or_query(
        store.config, source, **arguments, start_date=at(5), end_date=at(30)
    ).to_polars()
    assert everything.equals(rows.select("user_id", "a", "ts", "made"))
    latest = provider.pull_latest_from_table_or_query(
        store.config, source, **arguments, start_date=at(5), end_date=at(30)
    ).to_polars()
    expected = rows.sort("ts", "made").group_by("user_id", maintain_order=True).last().sort("user_id")
    assert latest.equals(expected.select("user_id", "a", "ts", "made"))


def test_a_result_persists_once_unless_overwriting_is_allowed(store, tmp_path):
    job = store.get_historical_features(entity_rows(np.random.default_rng(3), 10), REFS)
    storage = SavedDatasetFileStorage(path=str(tmp_path / "saved.parquet"))
    job.persist(storage)
    assert pl.read_parquet(tmp_path / "saved.parquet").equals(job.to_polars())
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        job.persist(storage)
    job.persist(storage, allow_overwrite=True)


def test_a_saved_dataset_reads_back_what_was_retrieved(store, tmp_path):
    entities = pl.from_pandas(entity_rows(np.random.default_rng(3), 10))
    job = store.get_historical_features(entities, ["u:a", "us:c"])
    storage = SavedDatasetFileStorage(path=str(tmp_path / "dataset.parquet"))
    dataset = store.create_saved_dataset(from_=job, name="kept", storage=storage)
    kept = ["user_id", "surface", "event_timestamp", "a", "c"]
    assert pl.from_pandas(dataset.to_df()).select(kept).equals(job.to_polars().select(kept))


def test_without_entity_rows_every_entity_of_the_range_is_asked_at_its_end(store, tmp_path):
    rows = pl.read_parquet(tmp_path / "u.parquet")
    known = rows.filter(pl.col("ts").is_between(at(10), at(20)))["user_id"].unique().sort()
    table = store.get_historical_features(features=["u:a"], start_date=at(10), end_date=at(20)).to_polars()
    assert table["user_id"].equals(known)
    asked = pl.DataFrame({"user_id": known}).with_columns(event_timestamp=pl.lit(at(20)))
    assert table["a"].equals(store.get_historical_features(asked, ["u:a"]).to_polars()["a"])
    by_ttl = store.get_historical_features(features=["u:a"], end_date=at(20)).to_polars()
    fresh = rows.filter(pl.col("ts").is_between(at(14), at(20)))["user_id"].unique().sort()
    assert by_ttl["user_id"].equals(fresh), "the default range is the ttl"
    with pytest.raises(ValueError, match=r"u by \['user_id'\], us by \['user_id', 'surface'\].*pass entity rows"):
        store.get_historical_features(features=["u:a", "us:c"], end_date=at(20)).to_polars()


def test_a_view_without_entities_gives_every_row_its_newest_and_materialises(store, tmp_path):
    rows = pl.DataFrame({"ts": [at(1), at(5)], "level": [1.0, 2.0]})
    rows.write_parquet(tmp_path / "global.parquet")
    source = FileSource(name="global_source", path=str(tmp_path / "global.parquet"), timestamp_field="ts")
    store.apply(
        FeatureView(name="global", ttl=timedelta(0), schema=[Field(name="level", dtype=Float64)], source=source)
    )
    entities = pl.DataFrame({"event_timestamp": [at(0), at(1), at(9)]})
    joined = store.get_historical_features(entities, ["global:level"]).to_polars()
    assert joined["level"].to_list() == [None, 1.0, 2.0]
    at_end = store.get_historical_features(features=["global:level"], end_date=at(9)).to_polars()
    assert at_end["level"].to_list() == [2.0]
    store.materialize(at(0), at(4), ["global"])
    assert store.get_online_features(["global:level"], [{"user_id": 1}]).to_dict()["level"] == [1.0]


def test_a_batch_written_offline_joins_and_the_last_written_wins(store, tmp_path):
    new = pl.DataFrame({"user_id": [6, 6], "ts": [at(80)] * 2, "made": [at(80)] * 2, "a": [1.0, 2.0], "b": [0.0, 0.0]})
    before = pl.read_parquet(tmp_path / "u.parquet")
    store.write_to_offline_store("u", new.to_pandas())
    assert pl.read_parquet(tmp_path / "u.parquet").head(len(before)).equals(before)
    entities = pl.DataFrame({"user_id": [6], "event_timestamp": [at(81)]})
    assert store.get_historical_features(entities, ["u:a"]).to_polars()["a"].to_list() == [2.0]
    write = store._get_provider().offline_store.offline_write_batch
    view = store.get_feature_view("u")
    with pytest.raises(ValueError, match=r"u_src: rows lack \['b'\], and have \['c'\]"):
        write(store.config, view, new.rename({"b": "c"}).to_arrow(), None)
    with pytest.raises(ValueError, match="u_src: a is String, its file has Float64"):
        write(store.config, view, new.with_columns(a=pl.lit("x")).to_arrow(), None)


def test_a_batch_for_a_folder_becomes_one_more_file_however_often_it_is_written(tmp_path):
    write_sources(tmp_path, np.random.default_rng(1))
    (tmp_path / "days").mkdir()
    (tmp_path / "u.parquet").rename(tmp_path / "days/first.parquet")
    (tmp_path / "days").rename(tmp_path / "u.parquet")  # the path of the view's source, now a folder
    store = open_store(tmp_path, POLARS)
    new = pl.DataFrame({"user_id": [6], "ts": [at(80)], "made": [at(80)], "a": [3.0], "b": [None]})
    for _ in range(2):
        store.write_to_offline_store("u", new.to_pandas())
    assert len(list((tmp_path / "u.parquet").iterdir())) == 2
    entities = pl.DataFrame({"user_id": [6], "event_timestamp": [at(81)]})
    assert store.get_historical_features(entities, ["u:a"]).to_polars()["a"].to_list() == [3.0]


@pytest.mark.parametrize("partition_by", [None, ["__log_date"]])
@pytest.mark.parametrize("as_folder", [False, True])
def test_logged_features_are_kept_once_and_read_back(store, tmp_path, partition_by, as_folder):
    destination = FileLoggingDestination(path=str(tmp_path / "logs"), partition_by=partition_by)
    view = store.get_feature_view("u")[["a"]]
    service = FeatureService(name="logged", features=[view], logging_config=LoggingConfig(destination=destination))
    store.apply(service)
    logs = pl.DataFrame(
        {
            "user_id": [1, 2],
            "u__a": [0.5, None],
            "u__a__timestamp": [at(3), at(27)],
            "u__a__status": pl.Series([1, 2], dtype=pl.Int32),
            "__log_timestamp": [at(4), at(28)],
            "__log_date": [at(4).date(), at(28).date()],
            "__request_id": ["r1", "r2"],
        }
    )
    folder = tmp_path / "incoming"
    folder.mkdir()
    logs.write_parquet(folder / "0.parquet")
    for _ in range(2):
        store.write_logged_features(folder if as_folder else logs.to_arrow(), service)
    provider = store._get_provider()
    job = provider.retrieve_feature_service_logs(service, at(0), at(48), store.config, store.registry)
    read = pl.DataFrame(pl.from_arrow(job.to_arrow())).sort("__log_timestamp")
    assert read.select(logs.columns).cast(logs.schema).equals(logs)
    assert len(list((tmp_path / "logs").rglob("*.parquet"))) == (2 if partition_by else 1)


def test_what_the_store_cannot_give_is_refused_by_name(store):
    job = store.get_historical_features(entity_rows(np.random.default_rng(3), 3), ["u:a"])
    with pytest.raises(NotImplementedError, match="runs no SQL"):
        job.to_sql()
    with pytest.raises(NotImplementedError, match="of one machine"):
        job.to_remote_storage()
    assert not job.supports_remote_storage_export()


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ("SELECT 1", "takes SQL-free entity inputs, got SQL"),
        (pl.DataFrame({"user_id": [1]}), "name the time column 'event_timestamp'"),
        (pl.DataFrame({"event_timestamp": [START]}), "entity rows lack user_id"),
        (pl.DataFrame({"user_id": [1], "a": [1.0], "event_timestamp": [START]}), "a is already a column"),
    ],
)
def test_unusable_entity_rows_are_refused_with_the_reason(store, entities, message):
    with pytest.raises(ValueError, match=message):
        store.get_historical_features(entities, ["u:a"]).to_polars()


def test_a_truncated_source_is_named(store, tmp_path):
    whole = (tmp_path / "u.parquet").read_bytes()
    (tmp_path / "u.parquet").write_bytes(whole[:100])
    with pytest.raises(TableError, match=r"u\.parquet"):
        store.get_historical_features(entity_rows(np.random.default_rng(3), 10), ["u:a"]).to_polars()
