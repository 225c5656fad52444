"""Ingest does each day once: what a run finds done, what it does anew, and that nothing else can tell."""

import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.helpers import kuairand_files as files
from watchline.data.day_cache import DayCache
from watchline.data.sources import chunks, delimited, writing
from watchline.data.tables import days_on_disk, read_days
from watchline.stages import ingest

WINDOW = {"end": "2022-04-28", "eval_days": 1, "finetune_days": 0, "valid_days": 1, "train_days": 1}
ARGUMENTS = ["--raw", "raw", "--out", "data/ingest", "--report", "reports/ingest"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def log(tmp_path, monkeypatch) -> Path:
    """KuaiRand's log of 2022-04-25 to 2022-04-29 in the order of time, read in chunks of a quarter of a day."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(delimited, "cut_lines", partial(chunks.cut_lines, least=6000, stretch=3000))
    files.write_kuairand(tmp_path / "raw", days=5, exposures=2000)
    return tmp_path / "raw/data" / files.LOG_NAME


def run(**window: object) -> dict:
    values = {"ingest": {"source": "kuairand", "path": "raw"}, "window": WINDOW | window}
    Path("params.yaml").write_text(yaml.safe_dump(values))
    ingest.main(ARGUMENTS)
    return json.loads(Path("reports/ingest/metrics.json").read_text())


def outputs() -> dict[str, bytes]:
    return {
        path.as_posix(): path.read_bytes()
        for folder in ("data", "reports")
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def made(monkeypatch) -> list[str]:
    """What runs did anew: `chunk`, or the day."""
    names: list[str] = []
    entry = DayCache.entry

    def counting(cache, inputs, make):
        name = str(inputs.get("day", "chunk"))
        return entry(cache, inputs, lambda folder: (names.append(name), make(folder)))

    monkeypatch.setattr(DayCache, "entry", counting)
    return names


def rows_of(lines: list[str], day: int) -> list[str]:
    return [line for line in lines if line.split(",")[2] == f"202204{day}"]


def write(log: Path, lines: list[str]) -> None:
    log.write_text("\n".join(lines) + "\n")


def test_warm_cold_and_partly_warm_runs_write_the_same_bytes(log):
    run(end="2022-04-29")
    cold = outputs()
    run(end="2022-04-29")
    assert outputs() == cold
    for folder in sorted(Path("runs/cache/ingest/entries").iterdir())[::2]:
        shutil.rmtree(folder)
    run(end="2022-04-29")
    assert outputs() == cold


@pytest.mark.parametrize("broken", [False, True])
def test_a_log_that_grew_step_by_step_gives_the_bytes_of_one_read_whole(log, broken):
    lines = log.read_text().splitlines()
    whole = [*lines[:-100], "1,2,3", *lines[-100:]] if broken else lines
    for count in (1650, 1651, 1800, len(whole)):  # all within the last two days
        write(log, whole[:count])
        run()
    grown = outputs()
    shutil.rmtree("runs")
    run()
    assert outputs() == grown


def test_a_new_day_is_done_alone_and_leaves_the_files_of_the_others(log, made):
    lines = log.read_text().splitlines()
    new = set(rows_of(lines, 29))
    write(log, [line for line in lines if line not in new])
    run()
    before = {path: path.read_bytes() for path in Path("data/ingest/exposures").rglob("*.parquet")}
    made.clear()
    write(log, lines)
    run(end="2022-04-29")
    assert [name for name in made if name != "chunk"] == ["2022-04-29"]
    num_bytes = sum(len(line) + 1 for line in new)
    assert made.count("chunk") <= num_bytes // 6000 + 2
    assert all(path.read_bytes() == content for path, content in before.items())
    assert len(before) == 4


def test_a_changed_row_costs_its_chunk_and_its_day(log, made):
    run()
    made.clear()
    lines = log.read_text().splitlines()
    (place,) = [i for i, line in enumerate(lines) if line == rows_of(lines, 26)[50]]
    cells = lines[place].split(",")
    cells[files.LOG_HEADER.index("play_time_ms")] = "123456789"
    write(log, [*lines[:place], ",".join(cells), *lines[place + 1 :]])
    run()
    assert [name for name in made if name != "chunk"] == ["2022-04-26"]
    assert made.count("chunk") <= 2


def test_late_rows_are_told_and_their_day_is_done_anew(log, made, capsys):
    lines = log.read_text().splitlines()
    late = rows_of(lines, 26)[100:103]
    write(log, [line for line in lines if line not in late])
    metrics = run()
    assert metrics["days_late"] == []
    made.clear()
    capsys.readouterr()
    write(log, [*(line for line in lines if line not in late), *late])
    metrics = run()
    assert metrics["days_late"] == [{"date": "2022-04-26", "rows": len(late)}]
    assert f"2022-04-26: {len(late)} late rows since the last run" in capsys.readouterr().out
    assert "Late rows" in Path("reports/ingest/index.html").read_text()
    assert [name for name in made if name != "chunk"] == ["2022-04-26"]
    assert metrics["rows"]["exposures"] == sum(len(rows_of(lines, day)) for day in range(25, 29))


def test_late_rows_do_not_depend_on_where_chunks_end(log, monkeypatch):
    lines = log.read_text().splitlines()
    moved = [*rows_of(lines, 25)[:7], *rows_of(lines, 27)[:5]]
    write(log, [*(line for line in lines if line not in moved), *moved])
    small = run()["days_late"]
    monkeypatch.setattr(delimited, "cut_lines", chunks.cut_lines)
    assert run()["days_late"] == small == [{"date": "2022-04-25", "rows": 7}, {"date": "2022-04-27", "rows": 5}]


def test_a_row_with_a_clock_far_off_makes_no_other_row_late(log):
    lines = log.read_text().splitlines()
    cells = lines[5].split(",")
    cells[files.LOG_HEADER.index("time_ms")] = "4102444800000"  # the year 2100
    write(log, [*lines[:5], ",".join(cells), *lines[6:]])
    assert run()["days_late"] == []


def test_a_log_in_another_order_says_that_late_rows_cannot_be_told(log):
    header, *lines = log.read_text().splitlines()
    write(log, [header, *reversed(lines)])
    run()
    assert "not in the order of time" in Path("reports/ingest/index.html").read_text()


def test_ids_over_all_days_are_counted_exactly(log):
    metrics = run()
    rows = read_days(Path("data/ingest/exposures"), days_on_disk(Path("data/ingest/exposures")))
    assert metrics["seen"] == {"users": rows["user_id"].n_unique(), "videos": rows["video_id"].n_unique()}
    assert sum(day["new_users"] for day in metrics["days"]) == metrics["seen"]["users"]


def program(start: str) -> subprocess.CompletedProcess:
    """The stage as a program of its own, after the statements of `start`."""
    script = f"{start}\nfrom watchline.stages import ingest, run_stage\nrun_stage(lambda: ingest.main({ARGUMENTS!r}))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)


KILL = """
import os, signal
from watchline.data.sources import writing
write = writing.write_parquet
def write_or_die(frame, path):
    if "users" in path.name or "entries" in path.parts and len(list(path.parents[1].iterdir())) > {limit}:
        os.kill(os.getpid(), signal.SIGKILL)
    write(frame, path)
writing.write_parquet = write_or_die
"""


@pytest.mark.parametrize("limit", [16, 1000])  # within the days, and after them
def test_a_killed_run_leaves_the_last_good_tables(log, limit):
    run()
    before = outputs()
    lines = log.read_text().splitlines()
    write(log, lines[:1] + [line.replace(",0,0,1,", ",0,0,0,") for line in lines[1:]])
    shutil.rmtree("runs")
    assert program(KILL.format(limit=limit)).returncode == -signal.SIGKILL
    assert {name: content for name, content in outputs().items() if ".partial" not in name} == before
    run()
    shutil.rmtree("runs")
    after = outputs()
    run()
    assert outputs() == after


@pytest.mark.parametrize("whole", [True, False])
def test_tables_put_aside_by_a_killed_run_come_back(log, whole):
    run()
    before = outputs()
    Path("data/ingest").rename("data/ingest.old")
    if whole:
        shutil.copytree("data/ingest.old", "data/ingest")
    ingest.restore(Path("data/ingest"))
    assert outputs() == before


@pytest.mark.parametrize("table", ["part-0.parquet", "users.parquet"])
def test_a_full_disk_leaves_the_last_good_tables_and_no_half_entry(log, monkeypatch, table):
    run()
    before = outputs()
    write(log, log.read_text().splitlines()[:-3])

    def full_disk(frame, path):
        if path.name == table:
            raise OSError(28, "No space left on device", str(path))
        real(frame, path)

    real = writing.write_parquet
    monkeypatch.setattr(writing, "write_parquet", full_disk)
    with pytest.raises(OSError, match="No space left"):
        run(end="2022-04-29")
    assert {name: content for name, content in outputs().items() if ".partial" not in name} == before
    assert not list(Path("runs/cache/ingest/entries").glob("*.partial*"))
    monkeypatch.undo()


def test_a_file_system_that_takes_no_more_bytes_leaves_the_last_good_tables(log):
    run()
    before = outputs()
    shutil.rmtree("runs")
    done = program("import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))")
    assert done.returncode == 1 and done.stderr.startswith("error: ") and "File too large" in done.stderr
    assert {name: content for name, content in outputs().items() if ".partial" not in name} == before


def test_a_day_in_two_logs_is_one_day(log):
    lines = log.read_text().splitlines()
    shared = rows_of(lines, 26)
    write(log.with_name(files.FIRST_LOG_NAME), [lines[0], *shared])
    metrics = run()
    counts = {day["date"]: day["rows"] for day in metrics["days"]}
    assert counts["2022-04-26"] == 2 * len(shared)
    assert counts["2022-04-27"] == len(rows_of(lines, 27))
    assert metrics["days_late"] == []
