"""From published KuaiRand files through ingest and validate: every line of the log is accounted for."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
import yaml

from tests.helpers.kuairand_files import FIRST_LOG_NAME, LOG_NAME, USERS_NAME, VIDEOS_NAME, write_kuairand
from tests.helpers.two_stages import ingest_and_validate
from watchline.data.day_cache import DayCache
from watchline.data.screening import count_rows
from watchline.data.tables import days_on_disk, read_days
from watchline.stages import validate

ROOT = Path(__file__).resolve().parents[2]
EXCERPT = ROOT.parent / "shared/data/kuairand-pure-10d"
WINDOW = {"end": "2022-04-28", "eval_days": 1, "finetune_days": 0, "valid_days": 1, "train_days": 2}
EXCERPT_WINDOW = {"end": "2022-05-04", "eval_days": 2, "finetune_days": 1, "valid_days": 1, "train_days": 6}


def section(stage: str, group: str) -> dict:
    return yaml.safe_load((ROOT / f"conf/{stage}/{group}.yaml").read_text())


def run(raw: Path, window: dict) -> dict:
    """Both stages in the working directory; returns what validate measured."""
    raw_text = raw.as_posix()
    source = section("ingest", "kuairand")["ingest"] | {"path": raw_text}
    limits = section("validate", "default")
    Path("params.yaml").write_text(yaml.safe_dump({"window": window, "ingest": source, "validate": limits}))
    return ingest_and_validate(raw_text)


@pytest.fixture
def raw(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_kuairand(tmp_path / "raw", days=4, exposures=1500)


def change_log(raw: Path, change) -> None:
    """Rewrite the log as `change` makes it of its lines (the header stays)."""
    path = raw / "data" / LOG_NAME
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *change(lines)]) + "\n")


def count_lines(raw: Path) -> int:
    return len((raw / "data" / LOG_NAME).read_text().splitlines()) - 1


def num_accounted() -> int:
    """Exposures that are clean or in quarantine, and lines of the log that could not be read."""
    lines = pl.read_parquet("data/quarantine/unparsable.parquet").filter(pl.col("file") == LOG_NAME)
    folders = Path("data/validate"), Path("data/quarantine")
    return sum(count_rows(folder, "exposures") for folder in folders) + len(lines)


def test_every_line_of_a_sound_log_is_clean_or_in_quarantine(raw):
    values = run(raw, WINDOW)
    assert values["verdict"]["status"] == "pass"
    assert values["rows"]["exposures"]["in"] == count_lines(raw) == num_accounted()


def test_broken_lines_end_as_unparsable_and_repeated_ones_as_duplicates(raw):
    before = run(raw, WINDOW)["quarantine"]["exposures"]["duplicate"]
    change_log(raw, lambda lines: [*lines, *lines[:5], lines[7] + ",9"])
    values = run(raw, WINDOW)
    assert values["quarantine"]["unparsable"] == {"unparsable": 1}
    assert values["quarantine"]["exposures"]["duplicate"] == before + 5
    assert count_lines(raw) == num_accounted()


def test_text_in_a_number_ends_as_unparsable_with_the_line_kept(raw):
    change_log(raw, lambda lines: [lines[0].replace(lines[0].split(",")[0], "someone", 1), *lines[1:]])
    assert run(raw, WINDOW)["quarantine"]["unparsable"] == {"unparsable": 1}
    (row,) = pl.read_parquet("data/quarantine/unparsable.parquet").to_dicts()
    assert row["line"] == 2 and row["text"].startswith("someone,") and row["rule"] == "unparsable"
    assert count_lines(raw) == num_accounted()


def test_a_day_missing_from_the_log_stops_the_line(raw):
    change_log(raw, lambda lines: [line for line in lines if line.split(",")[2] != "20220426"])
    with pytest.raises(validate.DatasetRuleError, match="date=2022-04-26"):
        run(raw, WINDOW)


def test_a_video_missing_from_its_table_puts_its_exposures_into_quarantine(raw):
    videos = pl.read_csv(raw / "data" / VIDEOS_NAME, infer_schema_length=None)
    log = pl.read_csv(raw / "data" / LOG_NAME)
    rarest, count = log.group_by("video_id").len().sort("len", "video_id").row(0)
    videos.filter(pl.col("video_id") != rarest).write_csv(raw / "data" / VIDEOS_NAME)
    assert run(raw, WINDOW)["quarantine"]["exposures"]["unknown_video"] == count
    assert count_lines(raw) == num_accounted()


def test_a_day_that_stands_in_two_logs_ends_as_duplicates(raw):
    before = run(raw, WINDOW)["quarantine"]["exposures"]["duplicate"]
    header, *lines = (raw / "data" / LOG_NAME).read_text().splitlines()
    shared = [line for line in lines if line.split(",")[2] == "20220426"]
    (raw / "data" / FIRST_LOG_NAME).write_text("\n".join([header, *shared[:20]]) + "\n")
    values = run(raw, WINDOW)
    assert values["quarantine"]["exposures"]["duplicate"] == before + 20
    assert values["rows"]["exposures"]["in"] == len(lines) + 20


def test_a_clock_a_day_off_on_one_day_stops_the_line(raw):
    def skew(lines: list[str]) -> list[str]:
        rows = [line.split(",") for line in lines]
        for row in rows:
            if row[2] == "20220426":
                row[4] = str(int(row[4]) + 86_400_000)
        return [",".join(row) for row in rows]

    change_log(raw, skew)
    with pytest.raises(validate.DatasetRuleError, match=r"exposures\.wrong_day: failed; observed 2\d\.\d"):
        run(raw, WINDOW)


def test_a_user_table_that_lacks_a_tenth_of_the_users_stops_the_line(raw):
    path = raw / "data" / USERS_NAME
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *(line for i, line in enumerate(lines) if i % 10)]) + "\n")
    with pytest.raises(validate.DatasetRuleError, match=r"exposures\.unknown_user: failed; .*user_id=") as error:
        run(raw, WINDOW)
    assert "expected at most 1.00% of rows" in str(error.value)


def test_a_video_with_two_durations_is_counted_and_its_exposures_stay(raw):
    before = run(raw, WINDOW)
    path = raw / "data" / VIDEOS_NAME
    lines = path.read_text().splitlines()
    place = lines[0].split(",").index("video_duration")
    twice = [line.split(",") for line in lines[5:7]]
    for fields in twice:
        fields[place] = str(float(fields[place] or 0) + 1000)
    path.write_text("\n".join([*lines, *(",".join(fields) for fields in twice)]) + "\n")
    with pytest.raises(validate.DatasetRuleError, match=r"videos\.conflicting_id: failed; observed 1\.\d*%.*video_id="):
        run(raw, WINDOW)  # two of 133 videos are more than the hundredth that may be so
    values = json.loads(Path("reports/validate/metrics.json").read_text())
    assert values["quarantine"]["videos"] == {"null_key": 0, "duplicate": 0, "conflicting_id": 2}
    assert values["rows"]["exposures"] == before["rows"]["exposures"]


def outputs() -> dict[str, bytes]:
    paths = [path for folder in ("data", "reports") for path in sorted(Path(folder).rglob("*")) if path.is_file()]
    return {path.as_posix(): path.read_bytes() for path in paths}


def test_a_new_day_over_a_warm_cache_gives_the_bytes_of_a_cold_one(raw, monkeypatch):
    """13 days and a 14th are the same as 14, and both stages do the new day alone."""
    shutil.rmtree(raw)
    write_kuairand(raw, days=14, exposures=2800)
    path = raw / "data" / LOG_NAME
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if line.split(",")[2] != "20220508") + "\n")
    run(raw, WINDOW | {"end": "2022-05-07", "train_days": 11})
    path.write_text("\n".join(lines) + "\n")

    made = []
    entry = DayCache.entry

    def counting(cache, inputs, make):
        return entry(cache, inputs, lambda folder: (made.append(dict(inputs)), make(folder)))

    monkeypatch.setattr(DayCache, "entry", counting)
    window = WINDOW | {"end": "2022-05-08", "train_days": 12}
    run(raw, window)
    assert [inputs["day"] for inputs in made if "day" in inputs] == ["2022-05-08"] * 2
    assert [inputs["suite"] for inputs in made if "suite" in inputs] == ["exposures"]
    warm = outputs()
    shutil.rmtree("runs")
    run(raw, window)
    assert outputs() == warm


@pytest.mark.skipif(not EXCERPT.is_dir(), reason=f"the real excerpt is not at {EXCERPT}")
def test_the_real_excerpt_has_the_defects_that_its_readme_counts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = run(EXCERPT, EXCERPT_WINDOW)
    found = {rule: count for rule, count in values["quarantine"]["exposures"].items() if count}
    assert found == {"duplicate": 4390, "duration_out_of_range": 2646}
    assert values["rows"]["exposures"]["in"] == 171_671 == num_accounted()
    assert values["rows"]["users"] == {"in": 27_285, "clean": 27_285, "quarantined": 0}
    assert values["rows"]["videos"] == {"in": 7_583, "clean": 7_583, "quarantined": 0}
    assert values["verdict"]["status"] == "pass"
    clean = read_days(Path("data/validate/exposures"), days_on_disk(Path("data/validate/exposures")))
    assert len(clean) == values["rows"]["exposures"]["clean"]
