"""Why a stage failed, read from what it said last: by itself, or for a reason outside."""

from __future__ import annotations

from pipelines.process import Completed

# DVC's two answers to a workspace that another command holds, and what DVC, torchrun, torch's and Python's pools of
# processes say of one that was killed from outside. All else is the stage's own failure, which would only repeat.
BUSY = ("Unable to acquire lock", "is busy")
_LOST = (
    "exited with -9",
    "exited with 137",
    "Signal 9 (SIGKILL)",
    "terminated with signal SIGKILL",
    "terminated abruptly",
)
_KILLED = -9
# The last is what DVC says when it cannot write the file by which it tries how to link.
_FULL = ("No space left on device", "Disk quota exceeded", "File too large", "No possible cache link types")
_MAKE_ROOM = (
    "the disk is full: make room (`df -h`; `dvc gc --all-commits --all-experiments` drops outputs that no commit and "
    "no experiment has), then start the run again, which goes on where it ended"
)


class StageError(RuntimeError):
    """A stage ended with an error; the message carries its last lines."""


class WorkspaceBusyError(StageError):
    """Another DVC command holds this workspace."""


class LostWorkerError(StageError):
    """A process of the stage was killed from outside: by the kernel for its memory, or by hand."""


class DiskFullError(StageError):
    """There was no room for an output, in the workspace or in DVC's cache; the message names the file."""


def error_of(stage: str, done: Completed) -> StageError:
    """The error of a stage whose command failed, with its last lines and, where the disk is full, what to do."""
    kind = _kind(done)
    why = f"{_MAKE_ROOM} " if kind is DiskFullError else ""
    tail = "\n".join(done.lines[-15:])
    return kind(f"stage {stage} failed: {why}(dvc repro {stage}: exit {done.returncode}); last lines:\n{tail}")


def _kind(done: Completed) -> type[StageError]:
    tail = "\n".join(done.lines[-60:])  # torchrun's summary of a failure is long
    if any(mark in tail for mark in BUSY):
        return WorkspaceBusyError
    if any(mark in tail for mark in _FULL):
        return DiskFullError
    if done.returncode == _KILLED or any(mark in tail for mark in _LOST):
        return LostWorkerError
    return StageError
