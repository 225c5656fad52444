"""A lock that goes with its process, and who holds it: nobody has to clean up after a kill."""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import IO, Any

import psutil

PROCESS_MARK = uuid.uuid4().hex
_POLL_S = 2.0
_PROBE_S = 2.0  # who only asks for a lock's holder has it for a moment, without a name
_WATCHER_S = 60.0  # the watcher of a run that has just died has its lock while it clears up


class WorkspaceHeldError(RuntimeError):
    """Another run holds this workspace or its experiment queue; the message says which."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock; it stands in the lock's file."""

    run: str  # name of the flow run
    pid: int
    started: str  # UTC, for people: nothing is decided by it
    flow_run: str = ""  # its id in Prefect
    mark: str = ""  # of its process and no other: a process id comes again, in a container at once
    cleared: bool = False  # it died, and nothing that it left is there any more

    @classmethod
    def here(cls, run: str, flow_run: str = "") -> Holder:
        """This process, from now on."""
        return cls(run, os.getpid(), datetime.now(UTC).isoformat(timespec="seconds"), flow_run, PROCESS_MARK)

    def __str__(self) -> str:
        return f"{self.run} (process {self.pid}, since {self.started})"


def try_lock(file: IO[Any]) -> bool:
    """Whether the open file could be locked for this process alone; its end or `file.close()` gives it back."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for(file: IO[str], what: str, wait_s: float, say: Callable[[str], None]) -> None:
    """Lock the open file; waits up to `wait_s` for another holder of `what`, saying which.

    A little longer for one that is about to give it back. Raises WorkspaceHeldError.
    """
    deadline, told = time.monotonic() + wait_s, None
    while not try_lock(file):
        other = read_holder(file)
        if time.monotonic() >= deadline + _more_s(other):
            raise WorkspaceHeldError(
                f"{what} is held by {other or 'a run that just began'}; waited {wait_s:.0f} s. "
                "Wait for it or cancel it, then start this one again"
            )
        if other is not None and other != told:
            say(f"waiting for {other}, which holds {what}")
            told = other
        time.sleep(min(_POLL_S, max(0.05, deadline - time.monotonic())))


def _more_s(other: Holder | None) -> float:
    if other is None or other.cleared:
        return _PROBE_S
    return 0.0 if psutil.pid_exists(other.pid) else _WATCHER_S


def read_holder(file: IO[str]) -> Holder | None:
    """Who wrote the file last; None where nobody did."""
    file.seek(0)
    try:
        return Holder(**json.loads(file.read()))
    except (ValueError, TypeError):  # between its lock and its name, or cut off by a full disk
        return None


def write_holder(file: IO[str], holder: Holder) -> None:
    """Make `holder` what others read."""
    file.seek(0)
    file.truncate(0)
    file.write(json.dumps(asdict(holder)))
    file.flush()
