"""Features as of each exposure through Feast: rows kept, no look ahead, and three stores that agree."""

import shutil
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from tests.helpers.clean import read_exposures, snapshot_days, write_clean, write_store
from watchline.data.screening import Source
from watchline.data.spacing import evenly_spaced
from watchline.feature_store import online
from watchline.feature_store.join import historical_features, join, service_features
from watchline.feature_store.materialise import materialise
from watchline.feature_store.repository import RepositoryError, open_store
from watchline.feature_store.snapshots import known_at, start_of_day

ASKED = ["exposure_id", "user_id", "video_id", "surface", "exposed_at", "date"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return write_clean(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def store_dirs(tables, tmp_path_factory):
    return write_store(tables, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def fresh_dirs(tables, tmp_path_factory):
    return write_store(tables, tmp_path_factory.mktemp("fresh"), freshness="event")


@pytest.fixture(scope="module")
def exposures(tables):
    return read_exposures(tables).select(ASKED)


@pytest.fixture(scope="module")
def joined(store_dirs, exposures):
    return historical_features(*store_dirs, exposures)


def test_rows_out_equal_rows_in_order_kept_whatever_the_order(store_dirs, exposures, joined):
    assert joined.select(ASKED).equals(exposures)
    shuffled = exposures.sample(fraction=1.0, shuffle=True, seed=3)
    again = historical_features(*store_dirs, shuffled)
    assert again.select(ASKED).equals(shuffled)
    assert again.sort("exposure_id").equals(joined.sort("exposure_id"))


def test_a_row_gets_the_snapshot_of_its_day_computed_by_hand(tables, joined):
    everything = read_exposures(tables)
    row = joined.drop_nulls("user_exposures_7d").sort("user_exposures_7d", "exposure_id").row(-1, named=True)
    past = everything.filter(pl.col("user_id") == row["user_id"], pl.col("date") < row["date"])
    assert len(past) > 1
    assert row["user_exposures_7d"] == len(past)
    assert row["user_log_mean_7d"] == pytest.approx(past["watch_time_s"].log1p().mean(), abs=1e-6)
    one = past.filter(pl.col("date") == row["date"] - timedelta(days=1))
    assert row["user_exposures_1d"] == len(one)


def test_event_fresh_features_know_what_was_over_and_nothing_else(tables, fresh_dirs, exposures):
    offset = Source.read(tables / "source.json").utc_offset_hours
    everything = read_exposures(tables).with_columns(known_at(offset).alias("known"))
    fresh = historical_features(*fresh_dirs, exposures)
    assert fresh.select(ASKED).equals(exposures)
    changed = 0
    for row in fresh.gather_every(7).iter_rows(named=True):
        past = everything.filter(pl.col("user_id") == row["user_id"], pl.col("known") < row["exposed_at"])
        assert (row["user_exposures_7d"] or 0) == len(past), "five days of data: all of it lies in the window"
        log_mean = past["watch_time_s"].log1p().mean()
        assert row["user_log_mean_7d"] == (None if log_mean is None else pytest.approx(log_mean, abs=1e-6))
        changed += past["date"].eq(row["date"]).any()
    assert changed > 20, "rows of the same day enter"


def test_poisoning_what_is_not_over_changes_no_event_fresh_feature(tables, fresh_dirs, exposures, tmp_path):
    moment = exposures["exposed_at"][len(exposures) // 2]
    offset = Source.read(tables / "source.json").utc_offset_hours
    everything = read_exposures(tables)
    open_at = everything.select(known_at(offset)).to_series() >= moment
    poisoned = everything.with_columns(pl.when(open_at).then(3e4).otherwise("watch_time_s").alias("watch_time_s"))
    asked = exposures.filter(pl.col("exposed_at") <= moment)
    after = historical_features(*write_store(tables, tmp_path, poisoned, freshness="event"), asked)
    assert historical_features(*fresh_dirs, asked).equals(after)


def test_context_is_that_of_the_local_clock(tables, exposures, joined):
    local = exposures["exposed_at"] + timedelta(hours=Source.read(tables / "source.json").utc_offset_hours)
    assert joined["hour"].to_list() == local.dt.hour().to_list()
    assert joined["weekday"].to_list() == local.dt.weekday().to_list()
    videos = pl.read_parquet(tables / "videos.parquet")
    uploaded = exposures.join(videos, on="video_id", how="left", maintain_order="left")["uploaded_on"]
    age = (local.dt.date() - uploaded).dt.total_days().cast(pl.Float64)
    assert joined["video_age_days"].to_list() == age.to_list()


@pytest.mark.parametrize("cut", [2, 3])
def test_poisoning_everything_after_a_cut_changes_no_feature_before_it(tables, exposures, joined, tmp_path, cut):
    day = exposures["date"].unique().sort()[cut]
    noise = np.random.default_rng(0).exponential(1e5, len(exposures))
    poisoned = read_exposures(tables).with_columns(
        pl.when(pl.col("date") >= day).then(pl.Series(noise)).otherwise("watch_time_s").alias("watch_time_s"),
        pl.when(pl.col("date") >= day).then(1.0).otherwise("duration_s").alias("duration_s"),
    )
    after = historical_features(*write_store(tables, tmp_path, poisoned), exposures)
    before = pl.col("date") < day
    # The cut day itself knows only what was before it.
    assert joined.filter(pl.col("date") <= day).equals(after.filter(pl.col("date") <= day))
    assert not joined.filter(~before).equals(after.filter(~before)), "the poison reaches later days"


def test_a_planted_leak_is_seen(tables, exposures, joined, tmp_path):
    day = exposures["date"].unique().sort()[2]
    repo, features = write_store(tables, tmp_path)
    snapshot = features / "sources/user_stats" / f"{(day + timedelta(days=1)).isoformat()}.parquet"
    early = pl.read_parquet(snapshot).with_columns(pl.col("event_timestamp") - timedelta(days=1))
    early.write_parquet(features / "sources/user_stats" / f"{day.isoformat()}.parquet")
    after = historical_features(repo, features, exposures)
    assert not joined.filter(pl.col("date") <= day).equals(after.filter(pl.col("date") <= day))


def test_polars_and_duckdb_give_the_same_features_of_the_same_repository(store_dirs, exposures, joined, tmp_path):
    repo, features = store_dirs
    on_duckdb = shutil.copytree(repo, tmp_path / "features")
    config = on_duckdb / "feature_store.yaml"
    config.write_text(config.read_text().replace("watchline.feature_store.polars_store.PolarsOfflineStore", "duckdb"))
    theirs = historical_features(on_duckdb, features, exposures)
    assert theirs.columns == joined.columns
    for name in joined.columns:
        assert joined[name].to_list() == theirs[name].cast(joined.schema[name]).to_list(), name


@pytest.mark.parametrize("freshness", ["daily", "event"])
def test_the_online_store_serves_what_the_offline_join_gives(tables, store_dirs, fresh_dirs, exposures, freshness):
    repo, features = store_dirs if freshness == "daily" else fresh_dirs
    offset = Source.read(tables / "source.json").utc_offset_hours
    moment = start_of_day(snapshot_days(tables)[-1], offset)
    sample = evenly_spaced(exposures, 200)
    strangers = sample.head(3).with_columns(user_id=pl.lit(-5, pl.Int64), video_id=pl.lit(-6, pl.Int64))
    with open_store(repo, features) as store:
        rows = materialise(store, moment)
        parity = online.compare(store, pl.concat([sample, strangers]), moment, offset)
        assert parity.rows == len(sample) + 3
        assert parity.differing == {} and parity.share == 1.0
        assert rows["user_profile"].rows == len(pl.read_parquet(tables / "users.parquet"))
        assert len(service_features(store, "watch_time")) > 80


def test_feasts_own_materialisation_fills_the_same_values(tables, store_dirs, exposures):
    offset = Source.read(tables / "source.json").utc_offset_hours
    moment = start_of_day(snapshot_days(tables)[-1], offset)
    requests = evenly_spaced(exposures, 40).with_columns(exposed_at=pl.lit(moment))
    with open_store(*store_dirs) as store:
        materialise(store, moment)
        ours = online.read(store, requests, offset)
    with open_store(*store_dirs) as store:
        for view in store.list_feature_views():
            start = moment - view.ttl if view.ttl else moment - timedelta(days=30_000)
            store.materialize(start, moment, [view.name])
        theirs = online.read(store, requests, offset)
    assert ours.equals(theirs)


def test_materialising_again_forgets_entities_that_have_expired(tables, store_dirs, exposures):
    offset = Source.read(tables / "source.json").utc_offset_hours
    moment = start_of_day(snapshot_days(tables)[-1], offset)
    with open_store(*store_dirs) as store:
        first = materialise(store, moment)
        materialise(store, moment + timedelta(days=3))
        requests = evenly_spaced(exposures, 20).with_columns(exposed_at=pl.lit(moment))
        assert online.read(store, requests, offset)["user_exposures_7d"].null_count() == len(requests)
        again = materialise(store, moment)
        assert {name: view.rows for name, view in again.items()} == {name: view.rows for name, view in first.items()}


def test_missing_and_clashing_columns_are_named(store_dirs, exposures):
    with pytest.raises(ValueError, match="exposures lack surface"):
        historical_features(*store_dirs, exposures.drop("surface"))
    with pytest.raises(ValueError, match="already have hour"):
        historical_features(*store_dirs, exposures.with_columns(hour=1))


def test_a_folder_that_is_no_repository_and_a_missing_source_are_named(store_dirs, exposures, tmp_path):
    with pytest.raises(RepositoryError, match=r"feature_store\.yaml"):
        historical_features(tmp_path, store_dirs[1], exposures)
    with pytest.raises(RepositoryError, match="no source for the view"):
        historical_features(store_dirs[0], tmp_path, exposures)


def test_no_rows_in_no_rows_out(store_dirs, exposures, joined):
    with open_store(*store_dirs) as store:
        assert join(store, exposures.clear(), 8.0).columns == joined.columns
