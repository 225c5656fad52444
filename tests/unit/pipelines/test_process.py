"""A command's lines arrive as they appear, and no process of it outlives a stop."""

import sys
import time
from pathlib import Path

import psutil
import pytest

from pipelines.process import CommandTimeoutError, run_lines
from tests.helpers.service import lives

# A child in a session of its own that ignores SIGTERM, as torchrun's ranks may.
STUBBORN = """
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"],
    start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
print("child", child.pid, flush=True)
time.sleep(600)
"""


def test_lines_are_passed_on_while_the_command_runs(tmp_path):
    seen: list[float] = []
    code = "import sys, time; print('a', flush=True); time.sleep(.5); print('b', flush=True); sys.exit('c')"
    done = run_lines([sys.executable, "-c", code], tmp_path, lambda _: seen.append(time.monotonic()), 30)
    assert (done.returncode, done.lines) == (1, ["a", "b", "c"])
    assert seen[1] - seen[0] > 0.3


def stubborn_child(lines: list[str]) -> psutil.Process:
    return psutil.Process(int(lines[0].split()[1]))


def test_a_timeout_ends_the_whole_tree(tmp_path):
    lines: list[str] = []
    children: list[psutil.Process] = []

    def on_line(line: str) -> None:
        lines.append(line)
        children.append(stubborn_child(lines))

    with pytest.raises(CommandTimeoutError):
        run_lines([sys.executable, "-c", STUBBORN], tmp_path, on_line, timeout_s=2, grace_s=1)
    assert children and not children[0].is_running()


def test_an_interrupt_ends_the_whole_tree(tmp_path):
    children: list[psutil.Process] = []

    def interrupt(line: str) -> None:
        children.append(stubborn_child([line]))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_lines([sys.executable, "-c", STUBBORN], tmp_path, interrupt, timeout_s=30, grace_s=1)
    assert children and not children[0].is_running()


def test_what_left_the_tree_has_the_same_time_to_end(tmp_path: Path):
    """A stubborn child of a stubborn command, and one whose parent is gone: one period of grace for both."""
    ignores = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    stubborn = f"import os, signal, time; {ignores}; print(os.getpid(), flush=True); time.sleep(600)"
    gone = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {stubborn!r}], start_new_session=True)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {gone!r}]); exec({stubborn!r})"
    processes: list[psutil.Process] = []
    started: list[float] = []

    def interrupt(line: str) -> None:
        processes.append(psutil.Process(int(line)))
        if len(processes) == 2:
            started.append(time.monotonic())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_lines([sys.executable, "-c", code], tmp_path, interrupt, timeout_s=60, grace_s=3)
    assert 3 <= time.monotonic() - started[0] < 6
    assert not any(map(lives, processes))


def test_a_grandchild_holding_the_pipe_does_not_hold_the_run(tmp_path: Path):
    code = (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(20)']); print('done')"
    )
    started = time.monotonic()
    done = run_lines([sys.executable, "-c", code], tmp_path, lambda _: None, 30)
    assert done.lines == ["done"]
    assert time.monotonic() - started < 10


def test_the_peak_is_that_of_all_processes_together(tmp_path):
    """A parent and a child in a session of its own hold 60 MB each."""
    held = "import time; held = bytearray(60_000_000); time.sleep(2.5)"
    code = (
        f"import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', {held!r}], start_new_session=True)\n"
    )
    done = run_lines([sys.executable, "-c", f"{code}{held}; child.wait()"], tmp_path, lambda _: None, 60)
    assert 120e6 < done.peak_bytes < 240e6
