"""One run per workspace, and a workspace that a run leaves as git knew it.

A run composes params.yaml and DVC writes dvc.lock: both are what git tracks. What they were is kept aside while a run
holds the workspace and put back at its end. Where the run was killed, its watcher puts it back (where that died too:
the service, or the next holder), after it has ended what the dead run left running: every command of a run has its mark
in the environment, ranks of torchrun too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from pipelines.file_lock import Holder, read_holder, try_lock, wait_for, write_holder
from pipelines.git_command import GitError, git
from pipelines.interruptions import note
from pipelines.leftovers import clear_leftovers
from pipelines.process import end_marked
from pipelines.watcher import watched

RUN_MARK = "WATCHLINE_RUN"  # in the environment of every command of a run
TRACKED = ("params.yaml", "dvc.lock")
_INDEX = "index.txt"
# Runs of DVC's experiment queue, which is one for the workspace; the line's own runs go on meanwhile.
_EXPERIMENTS = "runs/workspace/experiments.lock"


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
        wait_for(file, "the workspace", wait_s, say)
        _recover(root, folder, file, say)
        me = Holder.here(run, flow_run)

        def name(run: str) -> None:
            write_holder(file, replace(me, run=run))

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
        return read_holder(file)


@contextlib.contextmanager
def hold_experiments(
    root: Path, run: str, wait_s: float, say: Callable[[str], None], flow_run: str = ""
) -> Iterator[None]:
    """Hold the experiment queue of `root` and the folders of its results, as `hold` does with the workspace."""
    path = root / _EXPERIMENTS
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        wait_for(file, "the experiment queue", wait_s, say)
        write_holder(file, Holder.here(run, flow_run))
        try:
            yield
        finally:
            file.truncate(0)


def lost_experiments(root: Path) -> Holder | None:
    """The holder of the experiment queue that died, told once; None where there is none.

    What it left running goes on: the next run finds what the queue's worker finished.
    """
    path = root / _EXPERIMENTS
    if not path.is_file():
        return None
    with path.open("r+") as file:
        if not try_lock(file):
            return None
        dead = read_holder(file)
        file.truncate(0)
        return dead


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
        dead = read_holder(file)
        _recover(root, folder, file, say)
        if dead is not None and keep_record:
            write_holder(file, replace(dead, cleared=True))
        else:
            file.truncate(0)
        return dead


def _recover(root: Path, folder: Path, file, say: Callable[[str], None]) -> None:  # type: ignore[no-untyped-def]
    """End what a dead holder left running, and put back what it had kept aside."""
    dead = read_holder(file)
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
