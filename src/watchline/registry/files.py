"""Folders of model files: their hashes, a copy that is whole or not there, and text that is replaced at once."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial"  # at the end of what is not finished; git ignores it below registry/


def hash_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below `folder`, by its path with forward slashes, in order; empty where there is none."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _hash(path) for path in files}


def digest_of(files: Mapping[str, str]) -> str:
    """One hash of all paths and hashes: equal exactly for folders of the same names and contents."""
    listed = "".join(f"{files[path]}  {path}\n" for path in sorted(files))
    return hashlib.sha256(listed.encode()).hexdigest()


def differing(folder: Path, files: Mapping[str, str]) -> list[str]:
    """What tells `folder` from the files it should hold, in words; empty for none."""
    there = hash_files(folder)
    changed = [f"{path} is changed" for path in files if path in there and there[path] != files[path]]
    missing = [f"{path} is missing" for path in files if path not in there]
    return [*changed, *missing, *(f"{path} is none of its files" for path in there if path not in files)]


def copy_folder(source: Path, target: Path) -> None:
    """Make `target` a copy of `source` in one rename; what was there before is replaced.

    A process that is killed leaves `target` whole, or absent, and at most a folder that ends in PARTIAL.
    """
    partial = target.with_name(target.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial)
    for path in partial.rglob("*"):
        if path.is_file():
            _sync(path)
    if target.exists():
        shutil.rmtree(target)
    partial.replace(target)
    _sync(target.parent)


def write_atomic(path: Path, text: str) -> None:
    """Replace the content of `path` at once: after a kill or a power cut it is the old one or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    partial.write_text(text, encoding="utf-8")
    _sync(partial)
    partial.replace(path)
    _sync(path.parent)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold `folder` against other processes of this machine that ask for it alone; the lock dies with its process."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Have a file's bytes, or a folder's names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
