"""Work that earlier runs finished, by what it was made from: a new or changed day is done, the others are fetched.

DVC removes a stage's outputs before it runs, so the cache lies outside them (runs/cache/STAGE, ignored by git and DVC).
It may be deleted at any time; only time is lost. An entry is a folder that appears whole (made aside, then renamed).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

import watchline

In = TypeVar("In")
Out = TypeVar("Out")

_WORKERS = 2  # at work in Polars, which leaves Python's lock
_KEPT_RUNS = 5  # entries that none of the last so many runs used are removed


def code_digest(*parts: str) -> str:
    """Digest over the package's files below the given parts (`data`, `stages/ingest.py`) and the version of Polars."""
    package = Path(watchline.__file__).parent
    files = [file for part in parts for file in _python_files(package / part)]
    return digest_of([pl.__version__], files)


def digest_of(values: Any, files: Iterable[Path] = ()) -> str:
    """32 hex digits over `values` (JSON-able) and the contents of files, in their order."""
    digest = hashlib.blake2b(json.dumps(values, sort_keys=True, default=str).encode(), digest_size=16)
    for path in files:
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "blake2b").digest())
    return digest.hexdigest()


class DayCache:
    """Entries below `directory`; `code` stands for everything but an entry's inputs that its contents depend on."""

    def __init__(self, directory: Path, code: str) -> None:
        self.directory, self.code = directory.absolute(), code
        self.num_made = self.num_fetched = 0
        self._used: set[str] = set()
        self._lock = threading.Lock()
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    @classmethod
    def temporary(cls) -> DayCache:
        """An empty cache that lives as long as the object, for work whose results nobody fetches later."""
        scratch = tempfile.TemporaryDirectory(prefix="watchline-days-")
        cache = cls(Path(scratch.name), "")
        cache._scratch = scratch
        return cache

    def entry(self, inputs: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        """Folder of what `make` writes for `inputs` (JSON-able); `make` gets an empty folder and runs when it is new.

        Threads may ask at the same time.
        The folder is the cache's own: read it, or copy from it (`fetch`), never write into it.
        """
        key = digest_of([self.code, dict(inputs)])
        folder = self.directory / "entries" / key
        is_there = folder.is_dir()
        with self._lock:
            self._used.add(key)
            self.num_fetched += is_there
            self.num_made += not is_there
        if not is_there:
            _make_whole(folder, make)
        return folder

    def close(self) -> None:
        """Note which entries this run used, and remove those that none of the last runs did."""
        runs = self.directory / "runs"
        runs.mkdir(parents=True, exist_ok=True)
        numbers = sorted(int(path.stem) for path in runs.glob("*.json"))
        (runs / f"{numbers[-1] + 1 if numbers else 0:09}.json").write_text(json.dumps(sorted(self._used)))
        for old in numbers[: -(_KEPT_RUNS - 1)]:
            (runs / f"{old:09}.json").unlink()
        kept = {key for path in runs.glob("*.json") for key in json.loads(path.read_text())}
        for folder in (self.directory / "entries").glob("*"):
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)


def _make_whole(folder: Path, make: Callable[[Path], None]) -> None:
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}-{threading.get_ident()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        make(partial)
        partial.replace(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        if not folder.is_dir():  # else another thread or process was faster with the same inputs
            raise


def fetch(entry: Path, name: str, target: Path) -> None:
    """Copy one file of an entry to `target`, which appears whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(target.name + ".tmp")
    shutil.copyfile(entry / name, temporary)
    temporary.replace(target)


def _python_files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def in_order(work: Callable[[In], Out], items: Iterable[In]) -> Iterator[Out]:
    """Results of `work` in the order of `items`, two at a time; items are drawn one ahead, so that no worker waits."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        waiting: deque[Future[Out]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > _WORKERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
