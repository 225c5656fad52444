"""The online store is filled by what changed: a new day, a day done anew, an entity that has gone; in three stores."""

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest
from feast import FeatureStore

from tests.helpers import redis_server
from tests.helpers.clean import read_exposures, snapshot_days, write_clean, write_store
from watchline.data.screening import Source
from watchline.data.spacing import evenly_spaced
from watchline.data.tables import write_parquet
from watchline.feature_store.materialise import materialise
from watchline.feature_store.online import compare
from watchline.feature_store.repository import open_store
from watchline.feature_store.snapshots import start_of_day

ROWS = "type: watchline.feature_store.sqlite_store.SqliteRowsOnlineStore"
STORES = ["rows", "sqlite", "redis"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    return write_clean(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def written(tables, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("written")
    write_store(tables, directory)
    return directory


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory) -> Iterator[int | None]:
    if not redis_server.installed():
        yield None
        return
    with redis_server.redis_server(tmp_path_factory.mktemp("redis")) as port:
        yield port


@dataclass(frozen=True)
class Project:
    """A copy of the features and the repository, with an online store of its own that stays between openings."""

    directory: Path
    configuration: Path
    tables: Path

    @property
    def features(self) -> Path:
        return self.directory / "data/features"

    @property
    def days(self) -> list[date]:
        return snapshot_days(self.tables)

    @property
    def offset_h(self) -> float:
        return Source.read(self.tables / "source.json").utc_offset_hours

    def moment(self, back: int = 0) -> datetime:
        """The start of the newest snapshot's day, or of one so many days before."""
        return start_of_day(self.days[-1 - back], self.offset_h)

    @property
    def is_feasts_sqlite(self) -> bool:
        """A store that refuses a row of the same time: the view is filled anew."""
        return "type: sqlite" in self.configuration.read_text()

    def opened(self) -> AbstractContextManager[FeatureStore]:
        return open_store(self.configuration, self.features, keep_state=True)

    def fill(self, back: int = 0) -> dict[str, tuple[int, int, int]]:
        """Open the store as a run does, materialise, check every value; rows, written and removed per view."""
        with self.opened() as store:
            filled = materialise(store, self.moment(back))
            assert self.differing(store, back) == {}
        return {name: (view.rows, view.written, view.removed) for name, view in filled.items()}

    def differing(self, store: FeatureStore, back: int = 0) -> dict[str, int]:
        requests = evenly_spaced(read_exposures(self.tables), 300)
        return compare(store, requests, self.moment(back), self.offset_h).differing

    def source(self, view: str, day: date) -> Path:
        return self.features / "sources" / view / f"{day.isoformat()}.parquet"


@pytest.fixture(params=STORES)
def project(request, tables, written, redis_port, tmp_path) -> Project:
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    kind, configuration = request.param, tmp_path / "features/feature_store.yaml"
    if kind == "redis":
        if redis_port is None:
            pytest.skip(redis_server.MISSING)
        configuration = tmp_path / "features/feature_store.redis.yaml"
        text = configuration.read_text().replace("localhost:6379", f"127.0.0.1:{redis_port}")
        # Tests share the server: each has a project, and so keys, of its own.
        configuration.write_text(text.replace("project: watchline", f"project: {tmp_path.name}"))
    elif kind == "sqlite":
        configuration.write_text(configuration.read_text().replace(ROWS, "type: sqlite"))
    return Project(tmp_path, configuration, tables)


def test_a_second_run_without_a_new_day_writes_nothing(project):
    first = project.fill()
    assert all(written == rows and not removed for rows, written, removed in first.values())
    assert project.fill() == {name: (rows, 0, 0) for name, (rows, _, _) in first.items()}


def test_a_new_day_writes_its_own_rows_and_takes_away_what_expired(project):
    project.fill(back=1)
    filled = project.fill()
    for name, (rows, written, _) in filled.items():
        if name.endswith("_stats"):
            assert written == pl.read_parquet(project.source(name, project.days[-1])).height
            assert written <= rows
        else:
            assert written == 0, "profiles have not changed"


def test_entities_without_a_snapshot_any_more_are_gone(project):
    project.fill(back=1)
    stats = pl.read_parquet(project.source("user_stats", project.days[-1]))
    for day in project.days[-2:]:
        path = project.source("user_stats", day)
        write_parquet(pl.read_parquet(path).filter(pl.col("user_id") != stats["user_id"][0]), path)
    _, written, removed = project.fill()["user_stats"]
    assert (written, removed >= 1) == (len(stats) - 1, True)


def test_a_day_done_anew_rewrites_the_rows_that_it_changes(project):
    project.fill()
    newest, older = (project.source("video_stats", day) for day in project.days[-1:-3:-1])
    changed = pl.when(pl.col("video_id") < 5).then(9.5).otherwise("video_watch_mean_1d").alias("video_watch_mean_1d")
    for path in (newest, older):
        write_parquet(pl.read_parquet(path).with_columns(changed), path)
    # The newer snapshot of a video hides the older one.
    ids = pl.concat(pl.read_parquet(path).select("video_id") for path in (newest, older)).unique()
    expected = ids.filter(pl.col("video_id") < 5).height
    assert expected > 0
    rows, written, removed = project.fill()["video_stats"]
    assert (written, removed) == (rows if project.is_feasts_sqlite else expected, 0)


def test_going_back_a_day_gives_what_held_then(project):
    before = {name: rows for name, (rows, _, _) in project.fill(back=1).items()}
    project.fill()
    assert {name: rows for name, (rows, _, _) in project.fill(back=1).items()} == before


def test_a_changed_profile_is_rewritten(project):
    project.fill()
    path = project.features / "sources/user_profile.parquet"
    profiles = pl.read_parquet(path)
    chosen = pl.col("user_id") == profiles["user_id"][3]
    write_parquet(profiles.with_columns(fans_count=pl.when(chosen).then(12_345).otherwise("fans_count")), path)
    rows, written, removed = project.fill()["user_profile"]
    assert (removed == 0 and written == 1) or ("type: sqlite" in project.configuration.read_text() and written == rows)


def test_a_store_that_lost_its_rows_is_filled_anew(project):
    first = project.fill()
    with project.opened() as store:
        views = store.list_feature_views()
        store._get_provider().online_store.teardown(store.config, views, [])
    assert project.fill() == first


def test_a_run_that_stops_half_way_is_made_good_by_the_next(project, monkeypatch):
    project.fill(back=1)
    with project.opened() as store:
        online = type(store._get_provider().online_store)
        writing = "write_packed" if hasattr(online, "write_packed") else "online_write_batch"
        write, calls = getattr(online, writing), []

        def stop_at_the_third(*arguments):
            calls.append(arguments)
            if len(calls) == 3:
                raise OSError("no space left on device")
            return write(*arguments)

        monkeypatch.setattr(online, writing, stop_at_the_third)
        with pytest.raises(OSError, match="no space left"):
            materialise(store, project.moment())
    monkeypatch.undo()
    assert sum(written for _, written, _ in project.fill().values()) > 0
