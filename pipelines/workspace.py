"""One run per workspace, and a workspace that a run leaves as git knew it.

A run composes params.yaml and DVC writes dvc.lock: both are what git tracks. What they were is kept aside while a run
holds the workspace and put back at its end. Where the run was killed, its watcher puts it back (where that died too:
the service, or the next holder), after it has ended what the dead run left running: every command of a run has its mark
in the environment, ranks of torchrun too.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from pipelines.file_lock import try_lock
from pipelines.git_command import GitError, git
from pipelines.interruptions import note
from pipelines.leftovers import clear_leftovers
from pipelines.process import end_marked
from pipelines.watcher import watched

RUN_MARK = "WATCHLINE_RUN"  # in the environment of every command of a run
TRACKED = ("params.yaml", "dvc.lock")
_POLL_S = 2.0
_INDEX = "index.txt"


class WorkspaceHeldError(RuntimeError):
    """Another run holds this workspace; the message says which."""


@dataclass(frozen=True)
class Holder:
    """Who holds a workspace."""

    run: str  # name of the flow run
    pid: int
    started: str  # UTC, for people: nothing is decided by it
    flow_run: str = ""  # its id in Prefect
    cleared: bool = False  # it died, and nothing that it left is there any more

    def __str__(self) -> str:
        return f"{self.run} (process {self.pid}, since {self.started})"


@contextlib.contextmanager
def hold(
    root: Path, run: str, wait_s: float, say: Callable[[str], None], keep_files: bool = False, flow_run: str = ""
) -> Iterator[Callable[[str], None]]:
    """Hold the workspace `root` in the name of `run`; on the way out params.yaml and dvc.lock are as they were.

    With `keep_files` they stay as the run made them. Gives a function that changes the holder's name. Waits up to
    `wait_s` for another run, saying which. The kernel frees the lock of a process that died. Raises WorkspaceHeldError.
    """
    folder = root / "runs/workspace"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as file:
        _wait_for(file, wait_s, say)
        _recover(root, folder, file, say)
        started = datetime.now(UTC).isoformat(timespec="seconds")

        def name(run: str) -> None:
            _write(file, Holder(run, os.getpid(), started, flow_run))

        with watched(root):
            name(run)
            _keep_aside(root, folder / "before")
            os.environ[RUN_MARK] = _mark(os.getpid(), folder)
            try:
                yield name
            finally:
                del os.environ[RUN_MARK]
                if keep_files:
                    _forget(folder / "before")
                    file.truncate(0)
                else:
                    _give_back(root, folder / "before", file, say)


def holder(root: Path) -> Holder | None:
    """Who holds the workspace now; None where nobody does."""
    path = root / "runs/workspace/lock"
    if not path.is_file():
        return None
    with path.open("r+") as file:
        if try_lock(file):
            return None
        return _read_holder(file)


def recover(root: Path, say: Callable[[str], None], keep_record: bool = False) -> Holder | None:
    """End what a holder that died left running, and put its files back; returns it, None where there is none.

    With `keep_record` the next call returns it once more: the service asks who died.
    """
    folder = root / "runs/workspace"
    if not (folder / "lock").is_file():
        return None
    with (folder / "lock").open("r+") as file:
        if not try_lock(file):
            return None
        dead = _read_holder(file)
        _recover(root, folder, file, say)
        if dead is not None and keep_record:
            _write(file, replace(dead, cleared=True))
        else:
            file.truncate(0)
        return dead


def _wait_for(file, wait_s: float, say: Callable[[str], None]) -> None:  # type: ignore[no-untyped-def]
    deadline, told = time.monotonic() + wait_s, None
    while not try_lock(file):
        other = _read_holder(file)
        if time.monotonic() >= deadline and (other is None or psutil.pid_exists(other.pid)):
            raise WorkspaceHeldError(
                f"the workspace is held by {other or 'a run that just began'}; waited {wait_s:.0f} s. "
                "Wait for it or cancel it, then start this one again"
            )
        if other is not None and other != told:
            say(f"waiting for {other}, which holds the workspace")
            told = other
        time.sleep(min(_POLL_S, max(0.05, deadline - time.monotonic())))


def _read_holder(file) -> Holder | None:  # type: ignore[no-untyped-def]
    file.seek(0)
    try:
        return Holder(**json.loads(file.read()))
    except (ValueError, TypeError):  # between its lock and its name, or cut off by a full disk
        return None


def _write(file, holder: Holder) -> None:  # type: ignore[no-untyped-def]
    file.seek(0)
    file.truncate(0)
    file.write(json.dumps(asdict(holder)))
    file.flush()


def _recover(root: Path, folder: Path, file, say: Callable[[str], None]) -> None:  # type: ignore[no-untyped-def]
    """End what a dead holder left running, and put back what it had kept aside."""
    dead = _read_holder(file)
    if dead is not None and not dead.cleared:
        ended = end_marked(RUN_MARK, _mark(dead.pid, folder))
        left = f"; ended processes that it left: {', '.join(map(str, ended))}" if ended else ""
        told = f"{dead} ended without giving the workspace back{left}"
        say(told)
        clear_leftovers(root, say)
        note(root, dead.run, told)
    if (folder / "before" / _INDEX).is_file():
        _put_back(root, folder / "before")


def _mark(pid: int, folder: Path) -> str:
    return f"{folder.resolve()} {pid}"


def _keep_aside(root: Path, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name in TRACKED:
        if (root / name).is_file():
            shutil.copy2(root / name, place / name)
    index = git(root, "ls-files", "--stage", "--", *TRACKED)
    (place / "partial").write_text(index, encoding="utf-8")
    (place / "partial").rename(place / _INDEX)  # from now on it is whole


def _give_back(root: Path, place: Path, file, say: Callable[[str], None]) -> None:  # type: ignore[no-untyped-def]
    """Put the files back and the record away; what cannot be done now is left to the next holder."""
    try:
        _put_back(root, place)
        file.truncate(0)
    except (OSError, GitError) as error:
        say(f"params.yaml and dvc.lock are not put back yet ({error}); the next run does it, or `git checkout` of both")


def _put_back(root: Path, place: Path) -> None:
    for name in TRACKED:
        if (place / name).is_file():
            (root / f"{name}.partial").unlink(missing_ok=True)
            _link(place / name, root / f"{name}.partial")
            (root / f"{name}.partial").replace(root / name)
        else:
            (root / name).unlink(missing_ok=True)
    lines = (place / _INDEX).read_text(encoding="utf-8")
    staged = {line.split("\t")[1] for line in lines.splitlines()}
    removed = "".join(f"0 {'0' * 40}\t{name}\n" for name in TRACKED if name not in staged)
    git(root, "update-index", "--index-info", stdin=removed + lines)
    _forget(place)


def _link(source: Path, target: Path) -> None:
    """One more name of a file: a full disk has room for that. A copy where the file system has no such thing."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def _forget(place: Path) -> None:
    """Remove what was kept aside: the index first, which says that the rest is whole."""
    (place / _INDEX).unlink()
    shutil.rmtree(place)
