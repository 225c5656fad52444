"""Each day once: what a cache gives is what the work gives, and a new or changed day costs that day."""

import shutil
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from tests.helpers.clean import read_exposures, write_clean
from tests.stages.test_features import PARAMS, WINDOW, hashes, run
from watchline.data.day_cache import DayCache
from watchline.data.tables import day_path, days_on_disk, read_parquet, write_parquet

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


def test_a_changed_profile_or_parameter_joins_every_day_again(tables, tmp_path, made):
    run(tmp_path / "line", tables)
    changed = Path(shutil.copytree(tables, tmp_path / "validate"))
    users = read_parquet(changed / "users.parquet")
    write_parquet(users.with_columns(pl.col("fans_count").fill_null(0) + 1), changed / "users.parquet")
    days = [day.isoformat() for day in days_on_disk(tables / "exposures")]
    made.clear()
    run(tmp_path / "line", changed)
    assert made == [f"table {day}" for day in days]
    made.clear()
    run(tmp_path / "line", changed, PARAMS | {"shrinkage": 7})
    assert {name.split()[0] for name in made} == {"statistics", "table"}, "the sums do not depend on it"
    assert len(read_exposures(changed)) > 0
