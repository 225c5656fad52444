"""The validate stage, one defect put in at a time: a counted quarantine or a clear failure, and nothing lost."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
import yaml

from tests.helpers.canonical import write_canonical
from watchline.config import ConfigError, parse
from watchline.data.references import days_of_window
from watchline.data.schema import EXPOSURE_ID, EXPOSURES, USERS, VIDEOS
from watchline.data.screening import Source, count_rows, screen_tables
from watchline.data.sources.base import UNPARSABLE
from watchline.data.splits import Window
from watchline.data.tables import TableError, day_path, days_on_disk, read_days, read_parquet, write_parquet
from watchline.expectations import ValidateConfig
from watchline.stages import validate
from watchline.validation import checks

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "tables": "data/ingest",
    "out": "data/validate",
    "quarantine": "data/quarantine",
    "report": "reports/validate",
}
ARGUMENTS = [word for name, folder in FOLDERS.items() for word in (f"--{name}", folder)]
WINDOW = {"end": "2024-03-04", "eval_days": 1, "finetune_days": 0, "valid_days": 1, "train_days": 2}
TABLES = Path("data/ingest")


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    tables = write_canonical(tmp_path_factory.mktemp("ingest"), days=4, exposures=1500)
    facts = json.loads((tables / "source.json").read_text())
    # Half of the time goes into expectations about profile columns, which none of these tests is about.
    facts["columns_filled"] |= {"users": ["user_id", "fans_count"], "videos": ["video_id", "duration_s"]}
    (tables / "source.json").write_text(json.dumps(facts))
    return tables


@pytest.fixture(scope="module")
def counts_before(generated, tmp_path_factory):
    """What the exposure rules count in the generated tables as they are."""
    out = tmp_path_factory.mktemp("out")
    config = parse(ValidateConfig, yaml.safe_load((ROOT / "conf/validate/default.yaml").read_text()), "validate")
    source = Source.read(generated / "source.json")
    return screen_tables(generated, out, config.rows, parse(Window, WINDOW, "window"), source, 10**6).counts[
        "exposures"
    ]


@pytest.fixture
def project(generated, tmp_path, monkeypatch):
    """A folder with params.yaml and data/ingest, which is the working directory."""
    subprocess.run(["cp", "-r", str(generated), str(tmp_path / "ingest")], check=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "ingest").rename(tmp_path / "data/ingest")
    monkeypatch.chdir(tmp_path)
    write_params()
    return tmp_path


def write_params(window: dict | None = None, **changes: dict) -> None:
    """params.yaml of the stage's defaults, sections changed."""
    values = yaml.safe_load((ROOT / "conf/validate/default.yaml").read_text())
    values = {section: entries | changes.pop(section, {}) for section, entries in values.items()} | changes
    Path("params.yaml").write_text(yaml.safe_dump({"window": WINDOW | (window or {}), "validate": values}))


def run() -> dict:
    """Run the stage and return metrics.json; nothing may be lost, whatever was put in."""
    validate.main(ARGUMENTS)
    assert_nothing_lost()
    return metrics()


def metrics() -> dict:
    return json.loads(Path("reports/validate/metrics.json").read_text())


def fail() -> str:
    """Run the stage, which must fail after writing page and JSON, and return its message."""
    with pytest.raises(validate.DatasetRuleError) as error:
        validate.main(ARGUMENTS)
    assert metrics()["verdict"]["status"] == "fail"
    page = Path("reports/validate/index.html").read_text()
    assert all(name in page for name in metrics()["failed"])
    assert not list(Path("data/validate").iterdir())
    return str(error.value)


def assert_nothing_lost() -> None:
    for table in ("exposures", "users", "videos", "unparsable"):
        folders = ("data/ingest", "data/validate", "data/quarantine")
        num_in, num_clean, num_out = (count_rows(Path(folder), table) for folder in folders)
        assert num_in == num_clean + num_out, table
        assert metrics()["rows"][table] == {"in": num_in, "clean": num_clean, "quarantined": num_out}


def first_day() -> Path:
    return day_path(TABLES / "exposures", days_on_disk(TABLES / "exposures")[0])


def put_into_first_day(change) -> None:
    """Add what `change` makes of a few sound rows (all of one user and video) to the first day."""
    rows = read_parquet(first_day())
    sound = rows.filter(pl.col("duration_s") > 0).unique(maintain_order=True).head(3)
    write_parquet(pl.concat([rows, change(sound)]), first_day())


@pytest.fixture
def counts_after(project, counts_before):
    """A function that puts a change in, runs the stage, and says how many more rows each exposure rule counts."""

    def count(change) -> dict[str, int]:
        put_into_first_day(change)
        after = run()["quarantine"]["exposures"]
        return {rule: after[rule] - counts_before[rule] for rule in after if after[rule] != counts_before[rule]}

    return count


def test_sound_tables_pass_and_keep_the_order_of_ingest(project):
    values = run()
    assert values["verdict"]["status"] == "pass"
    assert values["expectations"]["failed"] == values["expectations"]["errors"] == 0
    days = days_on_disk(Path("data/validate/exposures"))
    clean = read_days(Path("data/validate/exposures"), days)
    assert clean.columns == [EXPOSURE_ID, *EXPOSURES]
    assert clean[EXPOSURE_ID].is_sorted() and clean[EXPOSURE_ID].is_unique().all()
    raw = read_days(TABLES / "exposures", days).filter(pl.col("duration_s") > 0).unique(maintain_order=True)
    assert clean.drop(EXPOSURE_ID).equals(raw)
    assert read_parquet(Path("data/validate/users.parquet")).columns == list(USERS)
    assert read_parquet(Path("data/validate/videos.parquet")).columns == list(VIDEOS)


def test_surplus_copies_go_to_quarantine_and_the_first_stays(counts_after):
    assert counts_after(lambda rows: pl.concat([rows, rows])) == {"duplicate": 6}


def test_a_negative_watch_time_goes_to_quarantine(counts_after):
    assert counts_after(lambda rows: rows.with_columns(watch_time_s=-1.0)) == {
        "play_out_of_range": 3,
    }


def test_an_absurd_watch_time_goes_to_quarantine(counts_after):
    assert counts_after(lambda rows: rows.with_columns(watch_time_s=1e7)) == {"play_out_of_range": 3}


@pytest.mark.parametrize("duration_s", [0.0, -5.0, 1e7])
def test_a_zero_negative_or_absurd_duration_goes_to_quarantine(counts_after, duration_s):
    assert counts_after(lambda rows: rows.with_columns(duration_s=pl.lit(duration_s))) == {"duration_out_of_range": 3}


def test_a_clock_a_day_off_goes_to_quarantine(counts_after):
    def off(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(pl.col("exposed_at") - timedelta(days=1))

    assert counts_after(off) == {"wrong_day": 3}


def test_a_time_after_the_window_goes_to_quarantine(counts_after):
    def later(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(pl.col("exposed_at") + timedelta(days=30))

    assert counts_after(later) == {"future_time": 3, "wrong_day": 3}


def test_an_id_unknown_to_the_user_table_goes_to_quarantine(counts_after):
    assert counts_after(lambda rows: rows.with_columns(user_id=pl.lit(10**9, dtype=pl.Int64))) == {"unknown_user": 3}


def test_an_id_unknown_to_the_video_table_goes_to_quarantine(counts_after):
    assert counts_after(lambda rows: rows.with_columns(video_id=pl.lit(10**9, dtype=pl.Int64))) == {"unknown_video": 3}


def test_a_null_key_goes_to_quarantine(counts_after):
    assert counts_after(lambda rows: rows.with_columns(user_id=pl.lit(None, dtype=pl.Int64))) == {"null_key": 3}


def test_quarantine_names_the_first_broken_rule_and_all_of_them(project):
    put_into_first_day(lambda rows: rows.with_columns(user_id=pl.lit(10**9, dtype=pl.Int64), watch_time_s=-1.0).head(1))
    run()
    table = read_parquet(Path("data/quarantine/exposures.parquet"))
    assert table.columns == [*EXPOSURES, "rule", "rules"]
    (row,) = table.filter(pl.col("user_id") == 10**9).select("rule", "rules").rows()
    assert row == ("unknown_user", "unknown_user,play_out_of_range")


def test_unparsable_lines_are_carried_over_and_counted(project):
    lines = pl.DataFrame([("log.csv", 7, "1,x", "watch time is text")], schema=UNPARSABLE, orient="row")
    write_parquet(lines, TABLES / "unparsable.parquet")
    assert run()["quarantine"]["unparsable"] == {"unparsable": 1}
    kept = read_parquet(Path("data/quarantine/unparsable.parquet"))
    assert kept.row(0) == ("log.csv", 7, "1,x", "watch time is text", "unparsable", "unparsable")
    assert "watch time is text" in Path("reports/validate/index.html").read_text()


def test_too_many_unparsable_lines_fail(project):
    lines = pl.DataFrame([("log.csv", i, "?", "text") for i in range(50)], schema=UNPARSABLE, orient="row")
    write_parquet(lines, TABLES / "unparsable.parquet")
    assert "unparsable.unparsable: failed" in fail()


def test_a_missing_day_inside_the_window_fails_with_its_date(project):
    day_path(TABLES / "exposures", days_on_disk(TABLES / "exposures")[1]).unlink()
    message = fail()
    assert "days: present: failed" in message and "date=2024-03-02" in message


def test_a_window_after_the_newest_row_fails_as_stale(project):
    write_params(window={"end": "2024-03-06"})
    assert "days behind window.end: failed; observed 2" in fail()


def test_a_day_with_a_fraction_of_its_rows_fails(project):
    write_parquet(read_parquet(first_day()).head(20), first_day())
    assert "days: rows a day: failed" in fail()


def test_a_changed_unit_of_watch_time_fails(project):
    write_parquet(read_parquet(first_day()).with_columns(pl.col("watch_time_s") * 100), first_day())
    assert "days: mean watch time a day: failed" in fail()


def test_too_large_a_share_of_quarantine_fails_with_observed_expected_and_example(project):
    rows = read_parquet(first_day())
    write_parquet(rows.with_columns(user_id=pl.lit(10**9, dtype=pl.Int64)), first_day())
    message = fail()
    assert "exposures.unknown_user: failed" in message and "exposures.all: failed" in message
    assert "at most 1.00% of rows" in message and "user_id=1000000000" in message
    assert "max_share_of_rule.unknown_user" in message


def test_a_user_table_that_lacks_a_tenth_of_the_users_fails(project):
    users = read_parquet(TABLES / "users.parquet")
    write_parquet(users.filter(pl.int_range(pl.len()) % 10 > 0), TABLES / "users.parquet")
    assert "exposures.unknown_user: failed" in fail()


def test_a_video_id_with_two_durations_is_counted_and_keeps_its_first_row(project):
    videos = read_parquet(TABLES / "videos.parquet")
    again = videos.head(1).with_columns(pl.col("duration_s") + 1)
    write_parquet(pl.concat([videos, again]), TABLES / "videos.parquet")
    write_params(quarantine={"max_share_of_rule": {}})
    assert run()["quarantine"]["videos"] == {"null_key": 0, "duplicate": 0, "conflicting_id": 1}
    assert read_parquet(Path("data/validate/videos.parquet")).equals(videos)


def test_a_missing_column_fails_by_name_before_any_row_is_judged(project):
    write_parquet(read_parquet(first_day()).drop("duration_s"), first_day())
    message = fail()
    assert "exposures: columns are the canonical ones: failed" in message
    assert "column=duration_s, expected=Float64, observed=absent" in message
    assert "file=exposures/date=2024-03-01/part-0.parquet" in message


def test_a_column_too_many_fails_by_name(project):
    write_parquet(read_parquet(TABLES / "users.parquet").with_columns(shoe_size=1), TABLES / "users.parquet")
    assert "column=shoe_size, expected=absent" in fail()


def test_a_column_of_another_type_fails_by_name(project):
    users = read_parquet(TABLES / "users.parquet").with_columns(pl.col("user_id").cast(pl.String))
    write_parquet(users, TABLES / "users.parquet")
    assert "column=user_id, expected=Int64, observed=String" in fail()


@pytest.mark.parametrize("name", ["exposures/date=2024-03-02/part-0.parquet", "users.parquet", "unparsable.parquet"])
def test_a_truncated_file_is_an_error_that_names_it(project, name):
    path = TABLES / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(TableError, match=name) as error:
        validate.main(ARGUMENTS)
    assert "dvc checkout" in str(error.value)


@pytest.mark.parametrize("name", ["videos.parquet", "unparsable.parquet", "source.json"])
def test_a_missing_file_is_an_error_that_names_it(project, name):
    (TABLES / name).unlink()
    with pytest.raises(TableError, match=name):
        validate.main(ARGUMENTS)


def test_a_log_without_rows_fails_and_loses_nothing(project):
    for day in days_on_disk(TABLES / "exposures"):
        path = day_path(TABLES / "exposures", day)
        write_parquet(read_parquet(path).clear(), path)
    message = fail()
    assert "exposures: has rows: failed" in message and "days: present: failed" in message


def test_a_log_that_is_broken_throughout_fails_with_every_row_in_quarantine(project):
    for day in days_on_disk(TABLES / "exposures"):
        path = day_path(TABLES / "exposures", day)
        write_parquet(read_parquet(path).with_columns(watch_time_s=-1.0), path)
    assert "exposures.all: failed; observed 100.000%" in fail()
    assert count_rows(Path("data/quarantine"), "exposures") == count_rows(TABLES, "exposures")


def test_an_unknown_parameter_is_an_error_that_names_it(project):
    write_params(strictness={"high": True})
    with pytest.raises(ConfigError, match=r"validate\.strictness: unknown parameter"):
        validate.main(ARGUMENTS)


def test_a_parameter_out_of_range_is_an_error_with_rule_and_value(project):
    write_params(days={"volume_factor": 1.0})
    with pytest.raises(ConfigError, match=r"validate\.days\.volume_factor: .*greater than 1, got 1\.0"):
        validate.main(ARGUMENTS)


def test_an_expectation_that_cannot_be_evaluated_is_reported_apart(project, monkeypatch):
    def without_ratio(*arguments):
        return days_of_window(*arguments).drop("watch_ratio")

    monkeypatch.setattr(checks, "days_of_window", without_ratio)
    message = fail()
    assert "mean watch time a day: could not be evaluated" in message
    assert metrics()["expectations"] == metrics()["expectations"] | {"failed": 0, "errors": 1}


def test_the_same_tables_and_params_give_the_same_bytes(project):
    def outputs() -> dict[str, bytes]:
        folders = ("data/validate", "data/quarantine", "reports/validate")
        return {str(path): path.read_bytes() for f in folders for path in sorted(Path(f).rglob("*")) if path.is_file()}

    run()
    before = outputs()
    run()
    assert outputs() == before


def test_as_a_program_a_failed_rule_exits_with_1_and_says_which(project):
    day_path(TABLES / "exposures", days_on_disk(TABLES / "exposures")[1]).unlink()
    done = subprocess.run(
        [sys.executable, "-m", "watchline.stages.validate", *ARGUMENTS],
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: 1 dataset rules do not hold") and "date=2024-03-02" in done.stderr
    assert "Traceback" not in done.stderr
    assert Path("reports/validate/index.html").is_file()
