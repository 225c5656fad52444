"""What a killed DVC leaves, a corrupt cache and a full disk, in the time of a unit test; tests/faults has the rest."""

import shutil
from pathlib import Path

import pytest

from pipelines.cache_check import remove_corrupt
from tests.helpers.daily_project import make_project

# DVC dies while it writes dvc.lock and its list of readers; its stage lives on in a session of its own, and talks.
KILL_DVC = """
import os, psutil, subprocess, sys, time
if not os.path.exists("runs/killed"):
    os.makedirs("runs", exist_ok=True)
    open("runs/killed", "w").close()
    talk = "import time\\nwhile True: print('still here', flush=True); time.sleep(0.1)"
    child = subprocess.Popen([sys.executable, "-c", talk], start_new_session=True)
    open("runs/child", "w").write(str(child.pid))
    open("dvc.lock", "w").write("stages:\\n  ing")
    open(".dvc/tmp/rwlock", "w").write('{"read": {')
    for process in psutil.Process().parents():
        if "repro" in process.cmdline():
            process.kill()
    time.sleep(600)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "where").mkdir()
    monkeypatch.setenv("WHERE", str(tmp_path / "where"))
    return make_project(tmp_path / "project", "2024-03-01")


def test_a_stage_goes_on_after_dvc_was_killed_in_the_middle_of_its_files(project, prefect_api):
    from pipelines.stage import run_stage

    (project / "line.py").write_text(KILL_DVC + (project / "line.py").read_text())
    result = run_stage("ingest", project, 60.0, retry_delay_seconds=[0])
    assert result.starts == 2 and not result.cached
    assert not Path(f"/proc/{(project / 'runs/child').read_text()}").exists()
    assert "train" not in (project / "dvc.lock").read_text() and "md5:" in (project / "dvc.lock").read_text()


def test_a_corrupt_file_of_the_cache_is_removed_and_its_stage_runs_again(project, prefect_api):
    from pipelines.stage import run_stage

    assert not run_stage("ingest", project, 60.0).cached
    lock = (project / "dvc.lock").read_bytes()
    cached = next(
        path
        for path in (project / ".dvc/cache/files").rglob("*")
        if path.is_file() and path.read_bytes() == b"2024-03-01\n"
    )
    cached.chmod(0o644)
    cached.write_bytes(b"2024-04-01\n")
    cached.chmod(0o444)
    shutil.rmtree(project / "data")
    assert not run_stage("ingest", project, 60.0).cached
    assert (project / "data/ingest/log").read_text() == "2024-03-01\n" == cached.read_text()
    assert (project / "dvc.lock").read_bytes() == lock
    cached.unlink()
    assert remove_corrupt(project, ["ingest"], print) and not (project / "data/ingest").exists()


def test_a_full_disk_is_said_with_what_to_do_and_is_not_retried(project, prefect_api):
    from pipelines.stage import DiskFullError, run_stage

    text = (project / "dvc.yaml").read_text()
    (project / "dvc.yaml").write_text(
        text.replace("cmd: python line.py ingest", "cmd: ulimit -f 1; python line.py ingest")
    )
    (project / "raw/2024-03-01").write_text("2024-03-01\n" * 1000)
    message = r"(?s)stage ingest failed: the disk is full: make room.*then start the run again.*File too large"
    with pytest.raises(DiskFullError, match=message):
        run_stage("ingest", project, 60.0)
    (project / "dvc.yaml").write_text(text)
    assert not run_stage("ingest", project, 60.0).cached


def test_a_time_limit_leaves_nothing_that_stops_the_next_start(project, prefect_api):
    from pipelines.process import CommandTimeoutError
    from pipelines.stage import run_stage

    line = (project / "line.py").read_text()
    half = "import time\nopen('dvc.lock', 'w').write('stages: [')\nopen('.dvc/tmp/rwlock', 'w').write('{\"read\": {')\n"
    (project / "line.py").write_text(f"{half}time.sleep(600)\n")
    with pytest.raises(CommandTimeoutError):
        run_stage("ingest", project, 8.0)
    (project / "line.py").write_text(line)
    assert not (project / ".dvc/tmp/rwlock").exists() and not run_stage("ingest", project, 60.0).cached
