"""What a git or DVC command that was killed, or met a full disk, left: locks that stop every later one, half files.

The kernel frees DVC's own lock with its process. git's are files that a command removes at its end. DVC's `rwlock`
lists who reads and writes which output: it is written in place, so a kill can leave half of it, and after a restart of
the machine the process ids in it may be those of other programs. A file enters DVC's cache under another name first.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from pipelines.git_command import git


def clear_leftovers(root: Path, say: Callable[[str], None]) -> None:
    """Remove what dead processes left; nothing while a git or DVC command works in the project."""
    if any(_works_in(root)):
        return
    for folder in {git(root, "rev-parse", "--absolute-git-dir"), git(root, "rev-parse", "--git-common-dir")}:
        place = (root / folder.strip()).resolve()
        for path in (*place.glob("*.lock"), *(place / "refs").rglob("*.lock")):
            path.unlink(missing_ok=True)
            say(f"removed {path.name}, which a killed git command left in {path.parent}")
    rwlock = root / ".dvc/tmp/rwlock"
    if rwlock.is_file() and not _is_usable(rwlock):
        rwlock.unlink()
        say("removed .dvc/tmp/rwlock, which names a DVC command that was killed")
    for path in (root / ".dvc/cache/files").rglob(".*.tmp"):  # a cache elsewhere may be shared with other projects
        path.unlink(missing_ok=True)
        say(f"removed {path.relative_to(root)}, half a file")


def _works_in(root: Path) -> Iterator[psutil.Process]:
    """Live git and DVC commands of the project."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            command = [Path(word).name for word in process.cmdline()[:3]]
            if {"git", "dvc"} & set(command) and Path(process.cwd()).is_relative_to(root.resolve()):
                yield process


def _is_usable(rwlock: Path) -> bool:
    """Whether DVC can read the file, and it names nobody: no command of DVC runs here."""
    try:
        held: dict[str, Any] = json.loads(rwlock.read_text(encoding="utf-8"))
        return not any(held.values())
    except (ValueError, AttributeError):
        return False
