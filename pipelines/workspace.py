"""One run per workspace, and a workspace that a run leaves as git knew it.

A run composes params.yaml and DVC writes dvc.lock: both are what git tracks. What they were is kept aside while a run
holds the workspace and put back at its end. Where the run was killed, its watcher puts it back (where that died too:
the service, or the next holder), after it has ended what the dead run left running: every command of a run has its mark
in the environment, ranks of torchrun too.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from pipelines.file_lock import PROCESS_MARK, Holder, read_holder, try_lock, wait_for, write_holder
from pipelines.git_command import GitError, git
from pipelines.interruptions import note
from pipelines.leftovers import clear_leftovers
from pipelines.process import end_marked
from pipelines.watcher import RUN_MARK, watched

TRACKED = ("params.yaml", "dvc.lock")
_INDEX = "index.txt"


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

        with watched(root), marked(root):
            try:
                name(run)
                _keep_aside(root, folder / "before")
                yield name
            finally:
                if keep_files:
                    _forget(folder / "before")
                    file.truncate(0)
                else:
                    _give_back(root, folder / "before", file, say)


@contextlib.contextmanager
def marked(root: Path) -> Iterator[None]:
    """Mark what this process starts in the block as its run's: it ends where this process is killed."""
    before = os.environ.get(RUN_MARK)
    os.environ[RUN_MARK] = _mark(PROCESS_MARK, root / "runs/workspace")
    try:
        yield
    finally:
        if before is None:
            del os.environ[RUN_MARK]
        else:
            os.environ[RUN_MARK] = before


def holder(root: Path) -> Holder | None:
    """Who holds the workspace now; None where nobody does."""
    path = root / "runs/workspace/lock"
    if not path.is_file():
        return None
    with path.open("r+") as file:
        if try_lock(file):
            return None
        return read_holder(file)


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
    """End what a dead holder left running, put back what it had kept aside; then tell, which may fail."""
    dead = read_holder(file)
    lines: list[str] = []
    if dead is not None and not dead.cleared:
        ended = end_marked(RUN_MARK, _mark(dead.mark, folder))
        left = f"; ended processes that it left: {', '.join(map(str, ended))}" if ended else ""
        lines.append(f"{dead} ended without giving the workspace back{left}")
        clear_leftovers(root, lines.append)
    if (folder / "before" / _INDEX).is_file():
        _keep_replaced(root, folder, lines.append)
        _put_back(root, folder / "before")
    with contextlib.suppress(OSError):  # a closed terminal
        for line in lines:
            say(line)
    if dead is not None and not dead.cleared:
        with contextlib.suppress(OSError):  # a full disk
            note(root, dead.run, lines[0])


def _mark(process: str, folder: Path) -> str:
    return f"{folder.resolve()} {process}"


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
        if (place / _INDEX).is_file():
            _put_back(root, place)
        file.truncate(0)
    except (OSError, GitError) as error:
        say(f"params.yaml and dvc.lock are not put back yet ({error}); the next run does it, or `git checkout` of both")


def _keep_replaced(root: Path, folder: Path, say: Callable[[str], None]) -> None:
    """Keep what `_put_back` is about to replace: since the run died, somebody may have edited it."""
    place = folder / "replaced"
    there = [name for name in TRACKED if (root / name).is_file()]
    changed = [name for name in there if not _are_same(root / name, folder / "before" / name)]
    if not changed:
        return
    try:
        place.mkdir(exist_ok=True)
        for name in changed:
            (place / name).unlink(missing_ok=True)
            _link(root / name, place / name)
        where = "is in runs/workspace/replaced"
    except OSError as error:
        where = f"could not be kept ({error})"
    say(f"{' and '.join(changed)} put back as before that run; what was there {where}")


def _are_same(one: Path, other: Path) -> bool:
    return other.is_file() and filecmp.cmp(one, other, shallow=False)


def _put_back(root: Path, place: Path) -> None:
    for name in TRACKED:
        if (place / name).is_file():
            (root / f"{name}.partial").unlink(missing_ok=True)
            _link(place / name, root / f"{name}.partial")
            (root / f"{name}.partial").replace(root / name)
            (root / f"{name}.partial").unlink(missing_ok=True)  # of two names of one file, a rename removes none
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
    (place / _INDEX).unlink(missing_ok=True)
    if place.is_dir():
        shutil.rmtree(place)
