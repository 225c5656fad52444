"""Which failures of a stage are of its own, and which are worth another start: told by DVC's words, not the stage's."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.process import Completed
from pipelines.stage_errors import DiskFullError, LostWorkerError, StageError, WorkspaceBusyError, error_of
from tests.helpers.small_disk import small_disk

POOL = """
import faulthandler, os, sys
from concurrent.futures import ProcessPoolExecutor

def end(number):
    os.kill(os.getpid(), number)

with ProcessPoolExecutor(1, initializer=faulthandler.enable) as pool:
    pool.submit(end, int(sys.argv[1])).result()
"""


def kind_of(lines: list[str], root: Path = Path(), returncode: int = 255) -> type[StageError]:
    return type(error_of("train@gr", Completed(returncode, lines, 1.0, 1), root))


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("ERROR: failed to reproduce 'x': '/a/data' is busy, it is being blocked by:", WorkspaceBusyError),
        ("ERROR: Unable to acquire lock. Most likely another DVC process is running.", WorkspaceBusyError),
        ("RuntimeError: the device is busy", StageError),
        ("ERROR: failed to reproduce 'train@gr': failed to run: python line.py, exited with -9", LostWorkerError),
        ("ERROR: failed to reproduce 'train@gr': failed to run: python line.py, exited with 1", StageError),
        ("OSError: [Errno 28] No space left on device", DiskFullError),
        ("ERROR: No possible cache link types for '.'. You can set cache.type", StageError),
    ],
)
def test_what_was_said_last_tells_the_kind(line, kind, tmp_path):
    assert kind_of(["epoch 1", line], tmp_path) is kind


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGKILL, LostWorkerError), (signal.SIGSEGV, StageError)])
def test_a_worker_of_a_pool_that_was_killed_is_lost_and_one_that_crashed_is_not(number, kind):
    done = subprocess.run([sys.executable, "-c", POOL, str(int(number))], capture_output=True, text=True)
    assert "terminated abruptly" in done.stderr
    assert kind_of(done.stderr.splitlines(), returncode=1) is kind


def test_no_link_type_on_a_disk_without_room_is_a_full_disk(tmp_path):
    with small_disk(tmp_path) as resize:
        resize("8k")
        assert kind_of(["ERROR: No possible cache link types for '.'."], tmp_path) is DiskFullError
