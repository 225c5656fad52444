"""Why a stage failed, read from what it said last: by itself, or for a reason outside."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from pipelines.process import Completed

# DVC's two answers to a workspace that another command holds, and what DVC, torchrun, torch's and Python's pools of
# processes say of one that was killed from outside. All else is the stage's own failure, which would only repeat.
_BUSY = re.compile(r"^ERROR: .*(Unable to acquire lock\. |' is busy, it is being blocked by:)")
_LOST = ("exited with -9", "exited with 137", "Signal 9 (SIGKILL)", "terminated with signal SIGKILL")
# A pool of Python does not say how its process ended; where it ended by its own fault, faulthandler does.
_LOST_OF_POOL, _OWN_FAULT = "terminated abruptly", "Fatal Python error: "
_KILLED = -9
_FULL = ("No space left on device", "Disk quota exceeded", "File too large")
# DVC says so when it cannot write the file by which it tries how to link, and of a wrong cache.type.
_NO_LINK = "No possible cache link types"
_LITTLE_BYTES = 1 << 20
_MAKE_ROOM = (
    "the disk is full: make room (`df -h`; `dvc exp remove NAME` forgets old runs, `dvc gc --all-commits "
    "--all-experiments` then drops what no commit and no run has), then start the run again, which goes on where it "
    "ended"
)


class StageError(RuntimeError):
    """A stage ended with an error; the message carries its last lines."""


class WorkspaceBusyError(StageError):
    """Another DVC command holds this workspace."""


class LostWorkerError(StageError):
    """A process of the stage was killed from outside: by the kernel for its memory, or by hand."""


class DiskFullError(StageError):
    """There was no room for an output, in the workspace or in DVC's cache; the message names the file."""


def error_of(stage: str, done: Completed, root: Path = Path()) -> StageError:
    """The error of a stage of `root` whose command failed: its last lines and, where the disk is full, what to do."""
    kind = _kind(done, root)
    why = f": {_MAKE_ROOM}" if kind is DiskFullError else ""
    tail = "\n".join(done.lines[-15:])
    return kind(f"stage {stage} failed{why} (dvc repro {stage}: exit {done.returncode}); last lines:\n{tail}")


def is_busy(lines: Sequence[str]) -> bool:
    """Whether DVC itself, in these lines of its command, says that another one holds the workspace."""
    return any(_BUSY.search(line) for line in lines)


def _kind(done: Completed, root: Path) -> type[StageError]:
    last = done.lines[-60:]  # torchrun's summary of a failure is long
    tail = "\n".join(last)
    if is_busy(last):
        return WorkspaceBusyError
    if any(mark in tail for mark in _FULL) or (_NO_LINK in tail and _is_full(root)):
        return DiskFullError
    lost_of_pool = _LOST_OF_POOL in tail and _OWN_FAULT not in tail
    if done.returncode == _KILLED or lost_of_pool or any(mark in tail for mark in _LOST):
        return LostWorkerError
    return StageError


def _is_full(root: Path) -> bool:
    """Whether the project's disk, or that of DVC's cache in it, has no room."""
    places = [place for place in (root, root / ".dvc/cache") if place.is_dir()]
    return any(shutil.disk_usage(place).free < _LITTLE_BYTES for place in places)
