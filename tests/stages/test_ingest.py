"""The ingest stage on small generated data and on KuaiRand's published files."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from tests.helpers import kuairand_files as files
from watchline.config import ConfigError, parse
from watchline.data.schema import EXPOSURES, SORT_KEY, USERS, VIDEOS
from watchline.data.sources.base import UNPARSABLE, SourceError, SourceTables, by_day, conform, empty_unparsable
from watchline.data.splits import Window
from watchline.data.synthetic import Law
from watchline.data.tables import days_on_disk, read_days, read_parquet
from watchline.stages import ingest

SYNTHETIC = {
    "source": "synthetic",
    "path": ".",
    "seed": 0,
    "first_day": "2024-03-01",
    "days": 6,
    "exposures": 3000,
}
WINDOW = {"end": "2024-03-05", "eval_days": 1, "finetune_days": 1, "valid_days": 1, "train_days": 1}
KUAIRAND_WINDOW = WINDOW | {"end": "2022-04-29", "train_days": 2}
ARGUMENTS = ["--out", "data/ingest", "--report", "reports/ingest"]


def run(folder: Path, source: dict[str, Any], window: dict[str, Any]) -> dict[str, Any]:
    """Run the stage in `folder`, the working directory; returns metrics.json."""
    (folder / "params.yaml").write_text(yaml.safe_dump({"ingest": source, "window": window}))
    ingest.main(["--raw", source["path"], *ARGUMENTS])
    return json.loads((folder / "reports/ingest/metrics.json").read_text())


def run_kuairand(folder: Path, **window: Any) -> dict[str, Any]:
    return run(folder, {"source": "kuairand", "path": "raw"}, KUAIRAND_WINDOW | window)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def raw(folder) -> Path:
    """KuaiRand's files for 2022-04-25 to 2022-04-29 in ./raw."""
    return files.write_kuairand(folder / "raw")


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()
    }


def test_synthetic_writes_the_canonical_layout_and_its_law(folder):
    run(folder, SYNTHETIC, WINDOW)
    out = folder / "data/ingest"
    days = days_on_disk(out / "exposures")
    assert days == [date(2024, 3, i) for i in range(1, 6)]
    for day in days:
        frame = read_days(out / "exposures", [day])
        assert dict(frame.schema) == EXPOSURES
        assert frame.equals(frame.sort(SORT_KEY))
    assert dict(read_parquet(out / "users.parquet").schema) == USERS
    assert dict(read_parquet(out / "videos.parquet").schema) == VIDEOS
    assert dict(read_parquet(out / "unparsable.parquet").schema) == UNPARSABLE
    assert len(Law.load(out / "law").users) == len(read_parquet(out / "users.parquet"))


def test_kuairand_writes_the_same_layout_without_a_law(folder, raw):
    run_kuairand(folder)
    names = {path.name for path in (folder / "data/ingest").iterdir()}
    assert names == {"exposures", "users.parquet", "videos.parquet", "unparsable.parquet", "source.json"}
    facts = json.loads((folder / "data/ingest/source.json").read_text())
    rows = len(files.exposures_of(files.generated()))
    assert (facts["source"], facts["utc_offset_hours"], facts["rows"]) == ("kuairand", 8, rows)
    assert facts["days"] == [f"2022-04-{day}" for day in range(25, 30)]
    assert set(facts["columns_filled"]) == {"exposures", "users", "videos"}


def test_every_row_is_written_or_counted_as_unparsable_or_after_the_window(folder, raw):
    log = raw / "data" / files.LOG_NAME
    lines = log.read_text().splitlines()
    log.write_text("\n".join([*lines[:100], "1,2,3", lines[101].replace(",", ",x", 1), *lines[102:]]) + "\n")
    metrics = run_kuairand(folder, end="2022-04-28", train_days=1)
    rows = metrics["rows"]
    assert rows["unparsable"] == len(read_parquet(folder / "data/ingest/unparsable.parquet")) == 2
    assert rows["after_window"] > 0
    assert rows["exposures"] + rows["unparsable"] + rows["after_window"] == len(lines) - 1
    assert rows["exposures"] == len(
        read_days(folder / "data/ingest/exposures", days_on_disk(Path("data/ingest/exposures")))
    )


def test_defective_rows_are_kept(folder, raw):
    run_kuairand(folder)
    frame = read_days(Path("data/ingest/exposures"), days_on_disk(Path("data/ingest/exposures")))
    written = files.exposures_of(files.generated())
    assert frame.sort(SORT_KEY).equals(written.sort(SORT_KEY))
    assert written.is_duplicated().any()
    assert (written["duration_s"] == 0).any()


def test_days_after_the_window_are_counted_not_written(folder):
    metrics = run(folder, SYNTHETIC, WINDOW)
    assert not (folder / "data/ingest/exposures/date=2024-03-06").exists()
    [after] = metrics["days_after_window"]
    assert after["date"] == "2024-03-06"
    assert after["rows"] == metrics["rows"]["after_window"] > 0


@pytest.mark.parametrize("window", [{"end": "2024-03-07"}, {"train_days": 9}, {"end": "2019-01-05"}])
def test_a_window_outside_the_data_is_an_error_with_the_range_the_data_has(folder, window):
    with pytest.raises(ingest.WindowError, match=r"the data, which has 2024-03-01 to 2024-03-06 \(6 days\)"):
        run(folder, SYNTHETIC, WINDOW | window)
    assert not (folder / "data/ingest").exists()


def test_a_day_missing_inside_the_window_is_reported(folder, raw, capsys):
    log = raw / "data" / files.LOG_NAME
    kept = [line for line in log.read_text().splitlines() if line.split(",")[2] != "20220427"]
    log.write_text("\n".join(kept) + "\n")
    metrics = run_kuairand(folder)
    assert metrics["days_missing"] == ["2022-04-27"]
    assert "no exposures on 2022-04-27, inside the window" in capsys.readouterr().out
    assert "no exposures on 2022-04-27" in (folder / "reports/ingest/index.html").read_text().lower()


@pytest.mark.parametrize("source", ["synthetic", "kuairand"])
def test_the_same_input_gives_the_same_bytes(folder, raw, source):
    trees = []
    for _ in range(2):
        run(folder, SYNTHETIC, WINDOW) if source == "synthetic" else run_kuairand(folder)
        trees.append(contents(folder / "data") | contents(folder / "reports"))
    assert trees[0] == trees[1]


def test_the_folder_of_another_window_leaves_no_day_behind(folder):
    run(folder, SYNTHETIC, WINDOW)
    run(folder, SYNTHETIC, WINDOW | {"end": "2024-03-04"})
    assert days_on_disk(Path("data/ingest/exposures"))[-1] == date(2024, 3, 4)


def test_a_failed_run_leaves_the_last_good_tables(folder, raw, monkeypatch):
    run_kuairand(folder)
    before = contents(folder / "data/ingest")
    (raw / "data" / files.USERS_NAME).unlink()
    with pytest.raises(SourceError):
        run_kuairand(folder)
    assert contents(folder / "data/ingest") == before

    def full_disk(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Law, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        run(folder, SYNTHETIC, WINDOW)
    assert contents(folder / "data/ingest") == before


def test_the_report_tells_rows_columns_notes_and_unparsable_lines(folder, raw):
    users = raw / "data" / files.USERS_NAME
    lines = users.read_text().splitlines()
    users.write_text("\n".join([lines[0], "<b>x</b>" + lines[1], *lines[2:]]) + "\n")
    metrics = run_kuairand(folder)
    page = (folder / "reports/ingest/index.html").read_text()
    assert metrics["unparsable"] == [
        {"file": files.USERS_NAME, "reason": "column user_id: not a whole number", "lines": 1}
    ]
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "<b>x</b>" not in page
    assert "columns not used" in page
    assert sum(day["rows"] for day in metrics["days"]) == metrics["rows"]["exposures"]
    [tags] = [row for row in metrics["columns"] if row["column"] == "tags"]
    assert tags["table"] == "videos"
    assert tags["null_share"] == pytest.approx(
        read_parquet(Path("data/ingest/videos.parquet"))["tags"].is_null().mean()
    )


def test_progress_is_a_line_a_day_and_a_total(folder, capsys):
    run(folder, SYNTHETIC, WINDOW)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2024-03-01: ")
    assert len(lines) == 6
    assert lines[-1].endswith("exposures after window.end not written")


def test_an_unknown_source_lists_the_sources_there_are(folder):
    with pytest.raises(ConfigError, match=r"ingest\.source: unknown source 'tiktok'; there are kuairand, kuairec"):
        run(folder, SYNTHETIC | {"source": "tiktok"}, WINDOW)


def test_an_unknown_parameter_is_named(folder):
    with pytest.raises(ConfigError, match=r"params\.yaml: ingest\.exposure: unknown parameter \(value 5\)"):
        run(folder, SYNTHETIC | {"exposure": 5}, WINDOW)


def test_the_committed_sources_are_accepted_by_their_configs():
    root = Path(__file__).parents[2] / "conf/ingest"
    for path in sorted(root.glob("*.yaml")):
        values = yaml.safe_load(path.read_text())
        values = values.get("ingest", values)
        parse(ingest.INGEST_SOURCES[values["source"]][0], values, path.name)
        assert path.stem == values["source"]


def test_a_source_that_fills_few_columns_gives_whole_tables(folder, monkeypatch):
    """What a new source needs: a config, and a `read` that returns the columns it has."""
    log = pl.DataFrame(
        {
            "user_id": [2, 1],
            "video_id": [5, 5],
            "exposed_at": [20, 10],
            "date": [date(2024, 3, 5), date(2024, 3, 5)],
            "watch_time_s": [1.5, 2.5],
        }
    )
    days, exposures_of = by_day(log)
    tables = SourceTables(
        days=days,
        exposures_of=exposures_of,
        users=pl.DataFrame({"user_id": [2, 1]}),
        videos=pl.DataFrame({"video_id": [5]}),
        unparsable=empty_unparsable(),
        utc_offset_hours=0,
        columns_filled={"exposures": tuple(log.columns), "users": ("user_id",), "videos": ("video_id",)},
    )
    monkeypatch.setitem(ingest.INGEST_SOURCES, "tiny", (dict[str, str], lambda path, config: tables))
    window = Window(end="2024-03-05", eval_days=1, finetune_days=0, valid_days=1, train_days=1)
    monkeypatch.setattr(ingest, "check_window", lambda *_: None)
    ingested = ingest.ingest("tiny", {}, Path(), window, Path("data/ingest"))
    frame = read_days(Path("data/ingest/exposures"), [date(2024, 3, 5)])
    assert dict(frame.schema) == EXPOSURES
    assert frame["user_id"].to_list() == [1, 2]
    assert frame["surface"].null_count() == 2
    assert conform(tables.users, USERS).schema == read_parquet(Path("data/ingest/users.parquet")).schema
    ingest.build_page(ingested).write(Path("reports/ingest/index.html"))
    columns = {(row["table"], row["column"]): row for row in ingest.summary(ingested)["columns"]}
    assert columns["exposures", "surface"] == {
        "table": "exposures",
        "column": "surface",
        "filled": False,
        "null_share": 1.0,
    }


def test_the_newest_complete_day_is_printed_and_nothing_written(raw, folder, capsys):
    (folder / "params.yaml").write_text(
        yaml.safe_dump({"ingest": {"source": "kuairand", "path": "raw"}, "window": KUAIRAND_WINDOW})
    )
    ingest.main(["--raw", "raw", *ARGUMENTS, "--newest-day"])
    assert capsys.readouterr().out.splitlines()[-1] == "2022-04-29"
    assert not (folder / "data").exists() and not (folder / "reports").exists()
