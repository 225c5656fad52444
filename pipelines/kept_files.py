"""What git tracks and a run changes, kept aside while it runs and put back after it."""

from __future__ import annotations

import filecmp
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from pipelines.git_command import GitError, git

TRACKED = ("params.yaml", "dvc.lock")
_INDEX = "index.txt"
_INDEX_WAITS_S = (0.1, 0.3, 1.0, 3.0)


def keep_aside(root: Path, place: Path) -> None:
    """Keep the files, and what git's index has of them, in the folder `place`."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name in TRACKED:
        if (root / name).is_file():
            shutil.copy2(root / name, place / name)
    index = git(root, "ls-files", "--stage", "--", *TRACKED)
    (place / "partial").write_text(index, encoding="utf-8")
    (place / "partial").rename(place / _INDEX)  # from now on it is whole


def is_kept(place: Path) -> bool:
    """Whether `place` holds the whole of what was kept aside."""
    return (place / _INDEX).is_file()


def keep_replaced(root: Path, folder: Path, say: Callable[[str], None]) -> None:
    """Keep what `put_back` is about to replace: since the run died, somebody may have edited it."""
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


def put_back(root: Path, place: Path) -> None:
    """Have files and index as they were kept in `place`, and forget it; what is cut off may be done once more."""
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
    _update_index(root, removed + lines)
    forget(place)


def _update_index(root: Path, lines: str) -> None:
    """Several attempts: an editor's `git status` has the index's lock for a moment, many times a minute."""
    for wait_s in (*_INDEX_WAITS_S, None):
        try:
            git(root, "update-index", "--index-info", stdin=lines)
            return
        except GitError:
            if wait_s is None:
                raise
            time.sleep(wait_s)


def _link(source: Path, target: Path) -> None:
    """One more name of a file: a full disk has room for that. A copy where the file system has no such thing."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def forget(place: Path) -> None:
    """Remove what was kept aside: the index first, which says that the rest is whole."""
    (place / _INDEX).unlink(missing_ok=True)
    if place.is_dir():
        shutil.rmtree(place)
