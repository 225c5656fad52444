"""features/feature_store.spark.yaml: Feast's Spark store gives the features of the Polars store, offline and online."""

from __future__ import annotations

import pytest

from tests.helpers.clean import read_exposures, snapshot_days, write_clean, write_store
from watchline.data.screening import Source
from watchline.data.spacing import evenly_spaced
from watchline.feature_store.join import historical_features
from watchline.feature_store.materialise import materialise
from watchline.feature_store.online import compare
from watchline.feature_store.repository import open_store
from watchline.feature_store.snapshots import start_of_day

pytest.importorskip("pyspark", reason="pyspark is not installed: `make test-spark`")

ASKED = ["user_id", "video_id", "surface", "exposed_at"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return write_clean(tmp_path_factory.mktemp("tables"), days=4, exposures=400)


@pytest.fixture(scope="module")
def store_dirs(tables, tmp_path_factory):
    return write_store(tables, tmp_path_factory.mktemp("store"))


def test_features_are_those_of_the_polars_store(spark, tables, store_dirs):
    repo, features = store_dirs
    exposures = read_exposures(tables).select(ASKED).gather_every(8)
    ours = historical_features(repo, features, exposures)
    theirs = historical_features(repo / "feature_store.spark.yaml", features, exposures)
    assert theirs.columns == ours.columns and theirs.select(ASKED).equals(exposures)
    differing = {name: int(ours[name].ne_missing(theirs[name].cast(ours.schema[name])).sum()) for name in ours.columns}
    assert {name: count for name, count in differing.items() if count} == {}
    assert ours["user_exposures_7d"].null_count() < len(ours)


def test_the_online_store_is_filled_from_spark(spark, tables, store_dirs):
    repo, features = store_dirs
    offset = Source.read(tables / "source.json").utc_offset_hours
    moment = start_of_day(snapshot_days(tables)[-1], offset)
    sample = evenly_spaced(read_exposures(tables), 30)
    with open_store(repo, features) as store:
        expected = {name: view.rows for name, view in materialise(store, moment).items()}
    with open_store(repo / "feature_store.spark.yaml", features) as store:
        filled = materialise(store, moment)
        assert {name: view.rows for name, view in filled.items()} == expected
        assert compare(store, sample, moment, offset).differing == {}
