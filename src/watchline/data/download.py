"""Fetch a published archive, verify its md5 and unpack it. Behind `make data SOURCE=kuairand-pure`.

    PYTHONPATH=src python -m watchline.data.download kuairand-pure --into data/raw

A download that was cut off goes on where it stopped. Without a network, put the archive itself into the folder: the
next run verifies and unpacks it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from watchline.data.sources.archives import PUBLISHED, Archive, md5_of, unpack
from watchline.data.sources.base import SourceError

# name for SOURCE= -> archive, and what to run once it is there
SOURCES = {
    "kuairand-pure": ("KuaiRand-Pure.tar.gz", "experiment=kuairand_pure"),
    "kuairand-1k": ("KuaiRand-1K.tar.gz", "ingest=kuairand"),
    "kuairand-27k": ("KuaiRand-27K.tar.gz", "ingest=kuairand"),
    "kuairec": ("KuaiRec.zip", "ingest=kuairec"),
}
_BLOCK = 1 << 20
_TIMEOUT_S = 60
_LINES = 20  # of progress in a log

Progress = Callable[[int, int | None], None]


def main(argv: list[str] | None = None) -> None:
    """Download, verify and unpack one source; prints where it is and what to run next."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", choices=sorted(SOURCES))
    parser.add_argument("--into", type=Path, default=Path("data/raw"))
    args = parser.parse_args(argv)
    name, override = SOURCES[args.source]
    folder = obtain(name, PUBLISHED[name], args.into)
    print(f"{folder}: ready; next: dvc exp run -S {override} -S ingest.path={folder}")


def obtain(name: str, archive: Archive, directory: Path) -> Path:
    """The folder that archive `name` is unpacked into, below `directory`; fetched first where it is not there yet.

    Raises SourceError: without a network (which file to put where), for another checksum, or a damaged archive.
    """
    path, folder = directory / name, directory / name.removesuffix(".gz").rsplit(".", 1)[0]
    if folder.is_dir():
        return folder
    directory.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        partial = path.with_name(path.name + ".part")
        with showing_progress(name) as progress:
            fetch(archive.url, partial, progress)
        verify(partial, archive)
        partial.replace(path)
    else:
        verify(path, archive)
    unpacked = folder.with_name(folder.name + ".partial")
    shutil.rmtree(unpacked, ignore_errors=True)
    unpack(path, unpacked, lambda member: True)
    unpacked.replace(folder)
    return folder


def fetch(url: str, partial: Path, progress: Progress) -> None:
    """Write the file at `url` into `partial`, going on behind the bytes that are there already.

    Raises SourceError, with what to do, when the server cannot be reached or closes early; the bytes so far stay.
    """
    start = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            if response.status != 206:
                start = 0  # a server that does not resume sends the whole file
            length = response.headers.get("Content-Length")
            total = None if length is None else start + int(length)
            with partial.open("r+b" if start else "wb") as file:
                file.seek(start)
                done = _copy(response, file, start, total, progress)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:
            return  # nothing is left to fetch; the checksum tells whether it is all of it
        raise SourceError(_by_hand(url, partial, f"the server answers {error.code} {error.reason}")) from error
    except OSError as error:
        raise SourceError(_by_hand(url, partial, f"no connection ({getattr(error, 'reason', error)})")) from error
    if total is not None and done < total:
        raise SourceError(
            f"{partial}: the connection closed after {done:,} of {total:,} bytes; run the same command again to go on"
        )


def verify(path: Path, archive: Archive) -> None:
    """Raise SourceError with both sums unless `path` has the published md5; a download of ours is removed then."""
    found = md5_of(path)
    if found == archive.md5:
        return
    size = path.stat().st_size
    if path.suffix == ".part":
        path.unlink()
    raise SourceError(
        f"{path}: md5 is {found} ({size:,} bytes), the published one is {archive.md5}: damaged, or another file. "
        f"Remove it where it is still there and run the same command again, or fetch {archive.url} by hand"
    )


def _copy(response: BinaryIO, file: BinaryIO, done: int, total: int | None, progress: Progress) -> int:
    progress(done, total)
    while block := response.read(_BLOCK):
        file.write(block)
        done += len(block)
        progress(done, total)
    return done


def _by_hand(url: str, partial: Path, what: str) -> str:
    target = partial.with_name(partial.name.removesuffix(".part"))
    return (
        f"{url}: {what}. Run the same command again to go on, or fetch the file on a machine with a network, put it at "
        f"{target} and run the same command: it verifies and unpacks what lies there"
    )


@contextmanager
def showing_progress(name: str) -> Iterator[Progress]:
    """A bar on a terminal, and some plain lines in a log."""
    if not sys.stderr.isatty():
        yield _Lines(name)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = "{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    with Bars(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


class _Lines:
    """Progress as lines, one per twentieth of the file, or per 100 MB of one whose size is not known."""

    def __init__(self, name: str) -> None:
        self._name, self._step = name, -1

    def __call__(self, done: int, total: int | None) -> None:
        step = done * _LINES // total if total else done // 100_000_000
        if step > self._step:
            self._step = step
            of = f" of {total / 1e6:,.1f}" if total else ""
            print(f"{self._name}: {done / 1e6:,.1f}{of} MB", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except (SourceError, OSError) as problem:
        sys.exit(f"error: {problem}")
