"""What a git or DVC command that was killed, or met a full disk, left: locks that stop every later one, half files.

The kernel frees DVC's own lock with its process. git's are files that a command removes at its end. DVC's `rwlock`
lists who reads and writes which output: it is written in place, so a kill can leave half of it, and after a restart of
the machine the process ids in it may be those of other programs. A file enters DVC's cache under another name first.
git's folder is that of all worktrees of a repository.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from pipelines.git_command import git

_SERVANTS = {"fsmonitor--daemon", "credential-cache--daemon"}  # git's, which live on and take no locks


def clear_leftovers(root: Path, say: Callable[[str], None]) -> None:
    """Remove what dead processes left; nothing while a git or DVC command works in the project.

    It is listed before that is asked, and goes only if it is still the same file then: what comes later is of a command
    that has just begun.
    """
    found = {path: (_stamp(path), words) for path, words in _leftovers(root)}
    if not found or _works_in([root]):
        return
    shared = _shared_git_folder(root) if _works_in(_worktrees(root)) else None
    for path, (stamp, words) in found.items():
        if shared is not None and path.is_relative_to(shared) and not path.is_relative_to(shared / "worktrees"):
            continue
        if stamp is not None and stamp == _stamp(path):
            path.unlink(missing_ok=True)
            say(words)


def _leftovers(root: Path) -> Iterator[tuple[Path, str]]:
    """What may be of a dead process, and what to say when it is removed."""
    for place in {_git_folder(root), _shared_git_folder(root)}:
        for path in (*place.glob("*.lock"), *_files(place / "refs", "*.lock")):
            yield path, f"removed {path.name}, which a killed git command left in {path.parent}"
    rwlock = root / ".dvc/tmp/rwlock"
    if rwlock.is_file() and not _is_usable(rwlock):
        yield rwlock, "removed .dvc/tmp/rwlock, which names a DVC command that was killed"
    cache = root / ".dvc/cache/files"
    if cache.resolve().is_relative_to(root.resolve()):  # else it may be shared with other projects
        for path in _files(cache, ".*.tmp"):
            yield path, f"removed {path.relative_to(root)}, half a file"


def _files(place: Path, pattern: str) -> Iterator[Path]:
    """Files below `place`, whose folders may come and go meanwhile."""
    for folder, _, names in os.walk(place):
        yield from (Path(folder) / name for name in fnmatch.filter(names, pattern))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What tells a file from one that takes its name later."""
    with contextlib.suppress(FileNotFoundError):
        status = path.stat()
        return status.st_ino, status.st_mtime_ns, status.st_size
    return None


def _git_folder(root: Path) -> Path:
    """The worktree's own folder of git."""
    return (root / git(root, "rev-parse", "--git-dir").strip()).resolve()


def _shared_git_folder(root: Path) -> Path:
    """That of all worktrees; of a repository without others the same."""
    return (root / git(root, "rev-parse", "--git-common-dir").strip()).resolve()


def _worktrees(root: Path) -> list[Path]:
    listed = git(root, "worktree", "list", "--porcelain").splitlines()
    return [Path(line.removeprefix("worktree ")) for line in listed if line.startswith("worktree ")]


def _works_in(trees: Sequence[Path]) -> bool:
    """Whether a git or DVC command is alive in one of `trees`, or may be: another user's does not say where."""
    places = [tree.resolve() for tree in trees]
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            words = _words(process)
            if not {"git", "dvc"} & set(words[:3]) or _SERVANTS & set(words):
                continue
            try:
                folder = Path(process.cwd())
            except psutil.AccessDenied:
                return True
            if any(folder.is_relative_to(place) for place in places):
                return True
    return False


def _words(process: psutil.Process) -> list[str]:
    """A process's command without its folders; the name alone where no more may be known."""
    try:
        return [Path(word).name for word in process.cmdline()]
    except psutil.AccessDenied:
        return [process.name()]


def _is_usable(rwlock: Path) -> bool:
    """Whether DVC can read the file, and it names nobody; so is one that is gone."""
    try:
        held: dict[str, Any] = json.loads(rwlock.read_text(encoding="utf-8"))
        return not any(held.values())
    except FileNotFoundError:
        return True
    except (ValueError, AttributeError):
        return False
