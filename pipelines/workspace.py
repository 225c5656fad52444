"""One run per workspace, and a workspace that a run leaves as git knew it.

A run composes params.yaml and DVC writes dvc.lock: both are what git tracks. What they were is kept aside while a run
holds the workspace and put back at its end. Where the run was killed, its watcher puts it back (where that died too:
the service, or the next holder), after it has ended what the dead run left running: every command of a run has its mark
in the environment, ranks of torchrun too.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from pipelines.file_lock import PROCESS_MARK, Holder, read_holder, try_lock, wait_for, write_holder
from pipelines.git_command import GitError
from pipelines.interruptions import note
from pipelines.kept_files import forget, is_kept, keep_aside, keep_replaced, put_back
from pipelines.leftovers import clear_leftovers
from pipelines.process import end_marked
from pipelines.watcher import RUN_MARK, watched


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
                keep_aside(root, folder / "before")
                yield name
            finally:
                if keep_files:
                    forget(folder / "before")
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
    if is_kept(folder / "before"):
        keep_replaced(root, folder, lines.append)
        put_back(root, folder / "before")
    with contextlib.suppress(OSError):  # a closed terminal
        for line in lines:
            say(line)
    if dead is not None and not dead.cleared:
        with contextlib.suppress(OSError):  # a full disk
            note(root, dead.run, lines[0])


def _mark(process: str, folder: Path) -> str:
    return f"{folder.resolve()} {process}"


def _give_back(root: Path, place: Path, file, say: Callable[[str], None]) -> None:  # type: ignore[no-untyped-def]
    """Put the files back and the record away; what cannot be done now is left to the next holder."""
    try:
        if is_kept(place):
            put_back(root, place)
        file.truncate(0)
    except (OSError, GitError) as error:
        say(f"params.yaml and dvc.lock are not put back yet ({error}); the next run does it, or `git checkout` of both")
