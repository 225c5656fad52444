"""A log in Parquet through ingest and validate: what overlapping files, a wrong clock and missing users come to."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest
import yaml

from pipelines.params import compose_params
from tests.helpers.kuairand_files import exposures_of, generated
from tests.helpers.two_stages import ingest_and_validate
from watchline.stages import validate

ROOT = Path(__file__).resolve().parents[2]
WINDOW = {"end": "2024-03-04", "eval_days": 1, "finetune_days": 0, "valid_days": 1, "train_days": 2}


@pytest.fixture
def raw(tmp_path, monkeypatch) -> Path:
    """raw/log/*.parquet, a file a day, and the users and videos of the log."""
    monkeypatch.chdir(tmp_path)
    tables = generated(days=4, exposures=6000, first_day=date(2024, 3, 1))
    rows = exposures_of(tables).select(
        "user_id",
        "video_id",
        "date",
        time_us=pl.col("exposed_at").dt.epoch("us"),
        play_ms=pl.col("watch_time_s") * 1000,
        duration_ms=pl.col("duration_s") * 1000,
        tab="surface",
    )
    (tmp_path / "raw/log").mkdir(parents=True)
    for (day,), part in rows.partition_by("date", as_dict=True).items():
        part.drop("date").write_parquet(tmp_path / f"raw/log/{day}.parquet")
    for name in ("users", "videos"):
        rows.select(f"{name[:-1]}_id").unique().sort(f"{name[:-1]}_id").write_parquet(tmp_path / f"raw/{name}.parquet")
    return tmp_path / "raw"


def run() -> dict:
    """Both stages; returns what validate measured."""
    overrides = [
        "ingest=parquet",
        "ingest.utc_offset_hours=8",
        "ingest.exposures.file=log",
        "ingest.exposures.columns.exposed_at=time_us",
        "ingest.time_unit=us",
        "ingest.users={file:users.parquet,columns:{user_id:user_id}}",
        "ingest.videos={file:videos.parquet,columns:{video_id:video_id}}",
    ]
    params = yaml.safe_load(compose_params(ROOT, overrides, Path("params.yaml").absolute()).read_text())
    params["ingest"]["path"] = "raw"
    params["window"] |= WINDOW
    Path("params.yaml").write_text(yaml.safe_dump(params))
    return ingest_and_validate("raw")


def test_rows_that_stand_in_two_files_end_as_duplicates(raw):
    before = run()["quarantine"]["exposures"]["duplicate"]
    day = pl.read_parquet(raw / "log/2024-03-02.parquet").unique(maintain_order=True)
    day.head(15).write_parquet(raw / "log/again.parquet")
    assert run()["quarantine"]["exposures"]["duplicate"] == before + 15


def test_a_clock_a_day_off_on_one_day_stops_the_line(raw):
    # The day follows from the time here, so a skewed day shows as one that is empty and one that is twice as full.
    path = raw / "log/2024-03-02.parquet"
    pl.read_parquet(path).with_columns(pl.col("time_us") + 86_400_000_000).write_parquet(path)
    with pytest.raises(validate.DatasetRuleError, match=r"2024-03-02|volume"):
        run()


def test_a_user_table_that_lacks_a_tenth_of_the_users_stops_the_line_with_the_rule(raw):
    path = raw / "users.parquet"
    users = pl.read_parquet(path)
    users.filter(pl.int_range(pl.len()) % 10 != 0).write_parquet(path)
    with pytest.raises(validate.DatasetRuleError, match=r"exposures\.unknown_user: failed; .*user_id="):
        run()
