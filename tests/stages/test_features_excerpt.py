"""On the real excerpt: Polars and DuckDB give the same features, and so does the online store after a new day."""

import shutil
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
import yaml

from tests.helpers.clean import ROOT, read_exposures, screen, snapshot_days, write_store
from watchline.config import parse
from watchline.data.sources import kuairand
from watchline.data.sources.writing import write_source
from watchline.data.spacing import evenly_spaced
from watchline.data.splits import Window
from watchline.feature_store.join import historical_features
from watchline.feature_store.materialise import materialise
from watchline.feature_store.online import compare
from watchline.feature_store.repository import open_store
from watchline.feature_store.snapshots import start_of_day

EXCERPT = ROOT.parent / "shared/data/kuairand-pure-10d"
OFFSET_H = 8.0
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(not EXCERPT.is_dir(), reason=f"no KuaiRand excerpt at {EXCERPT}"),
]


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("excerpt")
    config = yaml.safe_load((ROOT / "conf/ingest/kuairand.yaml").read_text())
    source = parse(kuairand.KuaiRandConfig, config["ingest"], "ingest")
    write_source(kuairand.read(EXCERPT, source), "kuairand", directory / "ingest")
    return screen(directory / "ingest", directory / "validate", parse(Window, config["window"], "window"))


@pytest.fixture(scope="module")
def store_dirs(tables, tmp_path_factory) -> tuple[Path, Path]:
    return write_store(tables, tmp_path_factory.mktemp("store"))


def test_polars_and_duckdb_give_the_same_features(tables, store_dirs, tmp_path):
    repo, features = store_dirs
    asked = ["exposure_id", "user_id", "video_id", "surface", "exposed_at"]
    exposures = evenly_spaced(read_exposures(tables).select(asked), 20_000)
    ours = historical_features(repo, features, exposures)
    on_duckdb = shutil.copytree(repo, tmp_path / "features")
    config = on_duckdb / "feature_store.yaml"
    config.write_text(config.read_text().replace("watchline.feature_store.polars_store.PolarsOfflineStore", "duckdb"))
    theirs = historical_features(on_duckdb, features, exposures)
    assert theirs.columns == ours.columns and ours.select(asked).equals(exposures)
    differing = {name: int(ours[name].ne_missing(theirs[name].cast(ours.schema[name])).sum()) for name in ours.columns}
    assert {name: count for name, count in differing.items() if count} == {}


def test_after_a_new_day_10_000_online_rows_equal_the_offline_ones(tables, store_dirs):
    moment = start_of_day(snapshot_days(tables)[-1], OFFSET_H)
    with open_store(*store_dirs) as store:
        materialise(store, moment - timedelta(days=1))
        filled = materialise(store, moment)
        again = materialise(store, moment)
        parity = compare(store, evenly_spaced(read_exposures(tables), 10_000), moment, OFFSET_H)
    snapshots = {
        path.parent.name: path for path in (store_dirs[1] / "sources").glob(f"*/{snapshot_days(tables)[-1]}.parquet")
    }
    assert {name: filled[name].written for name in snapshots} == {
        name: pl.read_parquet(path).height for name, path in snapshots.items()
    }
    assert not any(view.written or view.removed for view in again.values())
    assert parity.rows == 10_000 and parity.values > 800_000
    assert parity.differing == {}
