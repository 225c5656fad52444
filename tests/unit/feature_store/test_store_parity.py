"""200 small random worlds in which the Polars offline store and Feast on DuckDB give the same values.

The worlds share one repository: `world` is part of every key, so a call of either store joins all of them at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64, Int64, String

NUM_WORLDS = 200
START = datetime(2024, 3, 1, tzinfo=UTC)
KEYS = ["world", "user_id", "surface"]
SERVICE = "everything"


@dataclass(frozen=True)
class World:
    """How a world is drawn: ids of each kind, rows of each source, and the hours over which they spread."""

    num_ids: int
    num_rows: int
    num_hours: int


def draw_world(rng: np.random.Generator) -> World:
    return World(int(rng.integers(1, 5)), int(rng.integers(0, 25)), int(rng.choice([2, 12, 30])))


def moments(rng: np.random.Generator, world: World, num_rows: int, first: int = 0) -> list[datetime]:
    """Whole hours in a short span: ties, gaps, and rows exactly at another's time or at the end of its ttl."""
    return [START + timedelta(hours=int(hour)) for hour in rng.integers(first, world.num_hours + 1, num_rows)]


def source_rows(rng: np.random.Generator, number: int, world: World, keys: list[str]) -> pl.DataFrame:
    """Feature rows with null keys and values; of a tie at most one row has no creation time, so a winner is defined."""
    num_rows = world.num_rows
    times = moments(rng, world, num_rows)
    late = rng.permutation(num_rows) * 60 + rng.choice([0, 7_200, 40_000], num_rows)
    rows = pl.DataFrame(
        {
            "world": np.full(num_rows, number),
            **{key: with_nulls(rng, rng.integers(0, world.num_ids, num_rows), 0.05) for key in keys},
            "time": pl.Series(times, dtype=pl.Datetime("us", "UTC")),
            "created": pl.Series([t + timedelta(seconds=int(s)) for t, s in zip(times, late)], dtype=times_type()),
            "value": pl.Series(with_nulls(rng, rng.normal(size=num_rows).round(3), 0.15), dtype=pl.Float64),
            "label": [f"row {i} of {number}" for i in range(num_rows)],
        },
        schema_overrides=dict.fromkeys(("world", *keys), pl.Int64) | {"label": pl.String},
    )
    first_of_tie = pl.struct("world", *keys, "time").is_first_distinct()
    chosen = pl.Series(rng.random(num_rows) < 0.2, dtype=pl.Boolean)
    return rows.with_columns(pl.when(~(first_of_tie & chosen)).then("created").alias("created"))


def times_type() -> pl.Datetime:
    return pl.Datetime("us", "UTC")


def with_nulls(rng: np.random.Generator, values: np.ndarray, share: float) -> list:
    return [None if missing else value for value, missing in zip(values.tolist(), rng.random(len(values)) < share)]


def entity_rows(rng: np.random.Generator, number: int, world: World) -> pl.DataFrame:
    """Requests of known and unknown ids, some without, before, between and after the feature rows."""
    num_rows = int(rng.integers(1, 12))
    ids = {key: with_nulls(rng, rng.integers(0, world.num_ids + 1, num_rows), 0.1) for key in KEYS[1:]}
    times = pl.Series(moments(rng, world, num_rows, first=-2), dtype=times_type())
    schema = dict.fromkeys(KEYS, pl.Int64)
    return pl.DataFrame({"world": [number] * num_rows, **ids, "event_timestamp": times}, schema_overrides=schema)


def write_worlds(directory: Path) -> pl.DataFrame:
    """The three sources of all worlds; returns their entity rows."""
    sources: dict[str, list[pl.DataFrame]] = {"by_user": [], "by_pair": [], "by_world": []}
    entities = []
    for number in range(NUM_WORLDS):
        rng = np.random.default_rng([7, number])
        world = draw_world(rng)
        sources["by_user"].append(source_rows(rng, number, world, ["user_id"]))
        pairs = source_rows(rng, number, world, ["user_id", "surface"])
        sources["by_pair"].append(pairs.rename({"user_id": "viewer", "value": "raw_value", "time": "at"}))
        # Without a creation time a tie has no winner: one row of each key and time.
        plain = source_rows(rng, number, world, []).unique(["world", "time"], keep="first", maintain_order=True)
        sources["by_world"].append(plain.drop("created"))
        entities.append(entity_rows(rng, number, world))
    for name, tables in sources.items():
        pl.concat(tables).write_parquet(directory / f"{name}.parquet")
    return pl.concat(entities).with_row_index("row").cast({"row": pl.Int64})


def feature_view(directory: Path, name: str, entities: list[Entity], ttl_hours: float, **source: object) -> FeatureView:
    keys = [Field(name=entity.join_key, dtype=Int64) for entity in entities]
    path = str(directory / f"{source.pop('file')}.parquet")
    names = {"timestamp_field": "time", **source}
    return FeatureView(
        name=name,
        entities=entities,
        ttl=timedelta(hours=ttl_hours),
        schema=[*keys, Field(name="value", dtype=Float64), Field(name="label", dtype=String)],
        source=FileSource(name=f"{name}_source", path=path, **names),
    )


def definitions(directory: Path) -> list:
    world, user, surface = (Entity(name=key, join_keys=[key], value_type=ValueType.INT64) for key in KEYS)
    mapping = {"viewer": "user_id", "raw_value": "value", "at": "time"}
    pair_source = {"file": "by_pair", "created_timestamp_column": "created", "field_mapping": mapping}
    views = [
        feature_view(directory, "user", [world, user], 4, file="by_user", created_timestamp_column="created"),
        feature_view(directory, "user_always", [world, user], 0, file="by_user", created_timestamp_column="created"),
        feature_view(directory, "pair", [world, user, surface], 2, **pair_source),
        feature_view(directory, "world_day", [world], 24, file="by_world"),
    ]
    return [world, user, surface, *views, FeatureService(name=SERVICE, features=views)]


def open_store(directory: Path, offline: str) -> FeatureStore:
    name = offline.rsplit(".", 1)[-1]
    config = RepoConfig(
        project="worlds",
        provider="local",
        registry=str(directory / f"{name}.db"),
        offline_store={"type": offline},
        online_store={"type": "sqlite", "path": str(directory / f"{name}-online.db")},
        entity_key_serialization_version=3,
        repo_path=directory,
    )
    store = FeatureStore(config=config)
    store.apply(definitions(directory))
    return store


@pytest.fixture(scope="module")
def worlds(tmp_path_factory) -> tuple[FeatureStore, FeatureStore, pl.DataFrame]:
    directory = tmp_path_factory.mktemp("worlds")
    entities = write_worlds(directory)
    polars = open_store(directory, "watchline.feature_store.polars_store.PolarsOfflineStore")
    return polars, open_store(directory, "duckdb"), entities


def ask(store: FeatureStore, entities: pl.DataFrame, **options: bool) -> pl.DataFrame:
    rows: pd.DataFrame = entities.to_pandas(use_pyarrow_extension_array=False).astype(dict.fromkeys(KEYS, "Int64"))
    job = store.get_historical_features(rows, store.get_feature_service(SERVICE), full_feature_names=True, **options)
    return pl.DataFrame(pl.from_arrow(job.to_arrow()))


@pytest.mark.parametrize("filter_by_created_timestamp", [False, True])
def test_200_random_worlds_have_the_values_of_feast_on_duckdb(worlds, filter_by_created_timestamp):
    polars, duckdb, entities = worlds
    ours = ask(polars, entities, filter_by_created_timestamp=filter_by_created_timestamp)
    theirs = ask(duckdb, entities, filter_by_created_timestamp=filter_by_created_timestamp).sort("row")
    assert ours["row"].equals(entities["row"]), "every row kept, in order"
    features = [name for name in ours.columns if name not in entities.columns]
    assert len(features) == 8 and set(ours.columns) == set(theirs.columns)
    for name in features:
        differs = ours[name].ne_missing(theirs[name].cast(ours.schema[name]))
        wrong = ours.filter(differs)["world"].unique().sort().to_list()
        assert not wrong, f"{name} differs in {differs.sum()} rows of worlds {wrong}"
        assert 0 < ours[name].null_count() < ours.height, f"{name}: the worlds test nothing"


def test_the_worlds_have_the_edges_they_are_made_for(worlds):
    """Ties, expired rows, null keys and strangers each occur in many worlds, and change what is joined."""
    polars, _, entities = worlds
    directory = Path(polars.config.repo_path)
    rows = pl.read_parquet(directory / "by_user.parquet")
    tied = rows.drop_nulls("user_id").filter(pl.struct("world", "user_id", "time").is_duplicated())
    table = ask(polars, entities)
    expired = table.filter(pl.col("user_always__label").is_not_null(), pl.col("user__label").is_null())
    known = rows.select("world", "user_id").drop_nulls().unique()
    strangers = entities.drop_nulls("user_id").join(known, on=["world", "user_id"], how="anti")
    late = ask(polars, entities, filter_by_created_timestamp=True)
    corrected = table.filter(table["user__label"].ne_missing(late["user__label"]))
    nameless = entities.filter(pl.col("user_id").is_null())
    edges = {"tied": tied, "expired": expired, "strangers": strangers, "nameless": nameless, "corrected": corrected}
    assert {name: edge["world"].n_unique() for name, edge in edges.items() if edge["world"].n_unique() < 30} == {}
