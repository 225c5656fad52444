"""Each day once: what a cache gives is what the work gives, and a new or changed day costs that day."""

import shutil
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from tests.helpers.clean import read_exposures, write_clean
from tests.stages.test_features import PARAMS, WINDOW, hashes, run
from watchline.data.day_cache import DayCache
from watchline.data.tables import day_path, read_parquet, write_parquet

SHORTER = WINDOW | {"end": "2024-03-04", "train_days": 1}


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    return write_clean(tmp_path_factory.mktemp("tables"))


@pytest.fixture
def made(monkeypatch) -> list[str]:
    """What was made anew, in order: `part 2024-03-01`, `running ...`, `statistics ...`, `table ...`."""
    made: list[str] = []
    entry = DayCache.entry

    def noting(cache, inputs, make):
        name = next(iter(inputs))

        def note(folder: Path) -> None:
            made.append(f"{name} {inputs[name]}")
            make(folder)

        return entry(cache, inputs, note)

    monkeypatch.setattr(DayCache, "entry", noting)
    return made


@pytest.mark.parametrize("freshness", ["daily", "event"])
def test_a_new_day_is_the_only_one_that_is_made_and_the_bytes_are_those_of_a_cold_run(
    tables, tmp_path, made, freshness
):
    params = PARAMS | {"freshness": freshness}
    warm, cold = tmp_path / "warm", tmp_path / "cold"
    run(warm, tables, params, SHORTER)
    shutil.rmtree(warm / "data")  # as DVC does before it runs a stage
    made.clear()
    out = run(warm, tables, params)
    new = {"part 2024-03-05", "running 2024-03-06", "statistics 2024-03-06", "table 2024-03-05"}
    # Event-fresh, the snapshot of the day after the last one has no updates yet.
    assert set(made) == new | ({"statistics 2024-03-05"} if freshness == "event" else set())
    made.clear()
    again = run(warm, tables, params)
    assert made == []
    assert hashes(out) == hashes(again) == hashes(run(cold, tables, params))
    assert hashes(warm / "reports") == hashes(cold / "reports")


def test_a_changed_old_day_is_made_again_with_what_follows_from_it(tables, tmp_path, made):
    params = PARAMS | {"windows": [1], "pair_windows": [1], "all_time": False}
    run(tmp_path / "line", tables, params)
    changed = Path(shutil.copytree(tables, tmp_path / "validate"))
    path = day_path(changed / "exposures", date(2024, 3, 2))
    rows = read_parquet(path)
    write_parquet(rows.with_columns(pl.col("watch_time_s") + 1), path)
    made.clear()
    out = run(tmp_path / "line", changed, params)
    assert "part 2024-03-02" in made and "table 2024-03-02" in made and "statistics 2024-03-03" in made
    assert "part 2024-03-03" not in made
    # A play can run over midnight, so the second day after is within reach of one trailing day; the third is not.
    assert "statistics 2024-03-05" not in made
    assert hashes(out) == hashes(run(tmp_path / "cold", changed, params))


@pytest.mark.parametrize(
    ("table", "key", "change"), [("users", "user_id", "fans_count"), ("videos", "video_id", "width")]
)
def test_a_changed_profile_is_joined_again_on_the_days_that_have_it(tables, tmp_path, made, table, key, change):
    run(tmp_path / "line", tables)
    changed = Path(shutil.copytree(tables, tmp_path / "validate"))
    exposures = read_exposures(tables)
    days_of = exposures.group_by(key).agg(pl.col("date").unique()).filter(pl.col("date").list.len() == 2).sort(key)
    profile = pl.col(key) == days_of[key][0]
    rows = read_parquet(changed / f"{table}.parquet")
    new = rows.filter(profile).with_columns(pl.lit(10**9, pl.Int64).alias(key))
    other = pl.when(profile).then(pl.col(change).fill_null(0) + 1).otherwise(pl.col(change))
    write_parquet(pl.concat([rows.with_columns(other), new]), changed / f"{table}.parquet")
    made.clear()
    out = run(tmp_path / "line", changed)
    assert made == [f"table {day}" for day in sorted(days_of["date"][0])], "nothing else follows from it"
    assert hashes(out) == hashes(run(tmp_path / "cold", changed))


def test_a_changed_author_changes_the_sums_of_the_days_that_show_the_video(tables, tmp_path, made):
    run(tmp_path / "line", tables)
    changed = Path(shutil.copytree(tables, tmp_path / "validate"))
    days_of = read_exposures(tables).group_by("video_id").agg(pl.col("date").unique()).sort("video_id")
    video, days = days_of.filter(pl.col("date").list.len() == 1).row(0)
    author = pl.when(pl.col("video_id") == video).then(pl.lit(10**9, pl.Int64)).otherwise(pl.col("author_id"))
    rows = read_parquet(changed / "videos.parquet")
    write_parquet(rows.with_columns(author.alias("author_id")), changed / "videos.parquet")
    made.clear()
    out = run(tmp_path / "line", changed)
    assert [name for name in made if name.startswith("part")] == [f"part {days[0]}"]
    assert hashes(out) == hashes(run(tmp_path / "cold", changed))


def test_another_parameter_keeps_the_sums(tables, tmp_path, made):
    run(tmp_path / "line", tables)
    made.clear()
    run(tmp_path / "line", tables, PARAMS | {"shrinkage": 7})
    assert {name.split()[0] for name in made} == {"statistics", "table"}
