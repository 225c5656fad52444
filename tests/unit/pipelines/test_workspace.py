"""One holder at a time, a dead one's traces removed, and git as it was."""

import dataclasses
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from pipelines import file_lock
from pipelines.experiment_queue import hold_experiments, lost_experiments
from pipelines.file_lock import Holder, WorkspaceHeldError, try_lock, write_holder
from pipelines.git_command import GitError
from pipelines.interruptions import interruptions
from pipelines.kept_files import put_back
from pipelines.workspace import hold, holder, marked, recover
from tests.helpers.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
HOLD = """
import subprocess, sys, time
from pathlib import Path
from pipelines.interruptions import interruptions
from pipelines.workspace import hold, marked
root = Path(sys.argv[1])
with marked(root):
    server = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
with hold(root, "daily-2024-03-14", 0, print):
    (root / "params.yaml").write_text("of the run")
    (root / "dvc.lock").write_text("of the run")
    subprocess.run(["git", "add", "dvc.lock"], cwd=root, check=True)
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    print("held", left.pid, server.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text("committed")
    (tmp_path / ".gitignore").write_text("/runs/\n")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["git", "init", "-q"], [*git, "add", "-A"], [*git, "commit", "-qm", "start"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    return tmp_path


@pytest.fixture
def other(root: Path):
    """A process that holds the workspace and has a child in a session of its own."""
    # Without a standard error, as after the end of a terminal.
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-c", HOLD, str(root)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child, server = (psutil.Process(int(pid)) for pid in process.stdout.readline().split()[1:])
    yield process, child
    for each in (process, child, server):
        if each.poll() is None if isinstance(each, subprocess.Popen) else each.is_running():
            each.kill()
    process.wait()
    process.stdout.close()


def status(root: Path) -> str:
    return subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True).stdout


def test_a_second_run_is_told_who_holds_the_workspace(root, other):
    process, _ = other
    told: list[str] = []
    message = rf"held by daily-2024-03-14 \(process {process.pid}, since 20"
    with pytest.raises(WorkspaceHeldError, match=message), hold(root, "second", 0.3, told.append):
        pass
    assert len(told) == 1 and told[0].startswith(f"waiting for daily-2024-03-14 (process {process.pid}")
    found = holder(root)
    assert found is not None and (found.run, found.pid) == ("daily-2024-03-14", process.pid)


def kill_all(process: subprocess.Popen) -> None:
    """The holder and its watcher; what it works with lives on."""
    (watcher,) = (each for each in psutil.Process(process.pid).children() if "pipelines.watcher" in each.cmdline())
    watcher.kill()
    process.kill()
    process.wait()


def test_what_a_killed_run_left_is_ended_and_its_files_are_put_back_at_once(root, other):
    process, child = other
    assert "dvc.lock" in status(root)
    server, _, _ = sorted(psutil.Process(process.pid).children(), key=psutil.Process.create_time)
    process.kill()
    process.wait()
    child.wait(timeout=20)
    wait_until(lambda: not (root / "runs/workspace/before").exists())
    assert status(root) == "" and holder(root) is None
    (told,) = interruptions(root, "daily-2024-03-14")
    assert f"ended processes that it left: {server.pid}, {child.pid}" in told
    assert "ended without giving" in (root / "runs/workspace/watcher.log").read_text()
    assert told.split(maxsplit=1)[1] in (root / "runs/logs/daily-2024-03-14.log").read_text()


def test_the_next_run_does_it_where_the_watcher_died_too(root, other):
    process, child = other
    kill_all(process)
    assert holder(root) is None and child.is_running() and "dvc.lock" in status(root)
    told: list[str] = []
    with hold(root, "second", 0, told.append):
        assert (root / "params.yaml").read_text() == "committed" and not (root / "dvc.lock").exists()
        child.wait(timeout=5)
    assert told[0].startswith("daily-2024-03-14 (process") and told[0].endswith(f", {child.pid}")
    assert status(root) == ""


def test_locks_that_a_killed_command_left_are_removed(root, other):
    """git's index and a ref, half of DVC's list of readers: each of them would stop every later run."""
    process, _ = other
    held = [root / ".git/index.lock", root / ".git/refs/heads/results.lock", root / ".dvc/tmp/rwlock"]
    held[2].parent.mkdir(parents=True)
    for path in held:
        path.write_text('{"read": {')
    kill_all(process)
    with hold(root, "second", 0, print):
        assert not any(path.exists() for path in held)
    assert status(root) == ""


def test_a_run_leaves_what_was_staged_and_edited_as_it_was(root):
    (root / "dvc.lock").write_text("staged")
    subprocess.run(["git", "add", "dvc.lock"], cwd=root, check=True)
    (root / "params.yaml").write_text("edited by hand")
    before = status(root)
    with pytest.raises(ZeroDivisionError), hold(root, "one", 0, print):
        (root / "params.yaml").write_text("of the run")
        (root / "dvc.lock").write_text("of the run")
        subprocess.run(["git", "add", "-A"], cwd=root, check=True)
        raise ZeroDivisionError
    assert status(root) == before == "A  dvc.lock\n M params.yaml\n"
    assert ((root / "params.yaml").read_text(), (root / "dvc.lock").read_text()) == ("edited by hand", "staged")
    assert holder(root) is None


def test_who_only_asks_for_the_holder_does_not_make_a_run_that_does_not_wait_fail(root):
    (root / "runs/workspace").mkdir(parents=True)
    with (root / "runs/workspace/lock").open("a+") as asks:
        assert try_lock(asks)
        threading.Timer(0.5, asks.close).start()
        with hold(root, "promote", 0, print):
            assert asks.closed


def test_a_lock_whose_recorded_holder_is_gone_is_not_waited_for_for_ever(root, monkeypatch):
    """A process with the lock under the name of one that ended: its watcher, or one that hangs."""
    monkeypatch.setattr(file_lock, "_WATCHER_S", 0.5)
    with subprocess.Popen(["true"]) as gone:
        pass
    (root / "runs/workspace").mkdir(parents=True)
    with (root / "runs/workspace/lock").open("a+") as file:
        assert try_lock(file)
        write_holder(file, Holder("daily", gone.pid, "2024-03-14"))
        with pytest.raises(WorkspaceHeldError, match="held by daily"):
            hold(root, "promote", 0, print).__enter__()


def test_a_process_id_that_comes_again_costs_a_run_nothing_of_its_own(root):
    """After a restart of a container the next run has the id of the one that died."""
    (root / "runs/workspace").mkdir(parents=True)
    with marked(root), subprocess.Popen(["sleep", "600"]) as own:
        with (root / "runs/workspace/lock").open("a+") as file:
            write_holder(file, Holder("daily", os.getpid(), "2024-03-14", mark="before the restart"))
        told: list[str] = []
        with hold(root, "second", 0, told.append):
            assert own.poll() is None
        own.kill()
    assert "ended without giving the workspace back" in told[0] and "ended processes" not in told[0]


def test_an_index_that_an_editor_holds_for_a_moment_is_put_back_all_the_same(root):
    with hold(root, "one", 0, print):
        (root / ".git/index.lock").touch()
        threading.Timer(0.3, (root / ".git/index.lock").unlink).start()
        (root / "params.yaml").write_text("of the run")
    assert status(root) == "" and not (root / "runs/workspace/before").exists()


def test_a_run_that_cannot_begin_leaves_no_name(root, monkeypatch):
    (root / "runs/workspace").mkdir(parents=True)
    (root / "runs/workspace/before").write_text("a file, where a folder is to be made")
    with pytest.raises(FileExistsError):
        hold(root, "one", 0, print).__enter__()
    assert (root / "runs/workspace/lock").read_text() == "" and recover(root, print) is None


def test_a_run_that_waits_goes_on_when_the_other_ends(root, other):
    process, _ = other
    started = time.monotonic()

    def end(_: str) -> None:
        process.terminate()

    with hold(root, "second", 60, end):
        assert time.monotonic() - started < 30


def test_a_dead_holder_is_recovered_without_a_next_run(root, other):
    process, child = other
    assert recover(root, print) is None and process.poll() is None
    kill_all(process)
    told: list[str] = []
    dead = recover(root, told.append, keep_record=True)
    assert dead is not None and dead.pid == process.pid and status(root) == ""
    child.wait(timeout=5)
    assert recover(root, told.append) == dataclasses.replace(dead, cleared=True)
    assert recover(root, told.append) is None and len(told) == 2


def test_files_are_put_back_though_nobody_can_be_told_and_an_edit_since_is_kept(root, other):
    process, _ = other
    kill_all(process)
    (root / "params.yaml").write_text("edited by hand since")
    (root / "runs/logs").write_text("not a folder, so that a note raises OSError")

    def say(_: str) -> None:
        raise BrokenPipeError

    assert recover(root, say) is not None
    assert status(root) == "" and (root / "params.yaml").read_text() == "committed"
    assert (root / "runs/workspace/replaced/params.yaml").read_text() == "edited by hand since"
    assert not (root / "runs/workspace/before").exists()


def test_files_that_are_put_back_twice_leave_no_second_name(root):
    """As where a full disk, or git, stopped the first time after the files."""
    place = root / "runs/workspace/before"
    with pytest.raises(GitError), hold(root, "one", 0, print):
        (place / "index.txt").write_text("nonsense\tparams.yaml\n")
        put_back(root, place)
    assert (root / "params.yaml").samefile(place / "params.yaml")
    assert not (root / "params.yaml.partial").exists()


def test_the_experiment_queue_has_one_holder_and_its_death_is_told_once(root):
    script = """
import sys, time
from pathlib import Path
from pipelines.experiment_queue import hold_experiments

with hold_experiments(Path(sys.argv[1]), "search-one", 0, print, "an-id"):
    print("held", flush=True)
    time.sleep(600)
"""
    command = [sys.executable, "-c", script, str(root)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        assert lost_experiments(root) is None
        with pytest.raises(WorkspaceHeldError, match="the experiment queue is held by search-one"):
            hold_experiments(root, "search-two", 0, print).__enter__()
        with hold(root, "daily", 0, print):  # the line goes on meanwhile
            pass
        process.kill()
    dead = lost_experiments(root)
    assert dead is not None and (dead.run, dead.flow_run) == ("search-one", "an-id") and lost_experiments(root) is None
    with hold_experiments(root, "search-two", 0, print):
        pass
