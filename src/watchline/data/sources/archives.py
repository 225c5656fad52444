"""Published archives: where they are, their checksums, and unpacking that never leaves its folder."""

from __future__ import annotations

import hashlib
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from watchline.data.sources.base import SourceError


@dataclass(frozen=True)
class Archive:
    """A published file: its address, the md5 that its publisher gives, and the source that reads it."""

    url: str
    md5: str
    source: str


_KUAIRAND = "https://zenodo.org/records/10439422/files/"
PUBLISHED = {
    "KuaiRand-Pure.tar.gz": Archive(_KUAIRAND + "KuaiRand-Pure.tar.gz", "0820331067a3784d9691136f772b35a7", "kuairand"),
    "KuaiRand-1K.tar.gz": Archive(_KUAIRAND + "KuaiRand-1K.tar.gz", "6b0b9c8222d67fcd4c676218edca3f1f", "kuairand"),
    "KuaiRand-27K.tar.gz": Archive(_KUAIRAND + "KuaiRand-27K.tar.gz", "3e3c799a24e2d23a4d2c757fbf9adf59", "kuairand"),
    "KuaiRec.zip": Archive(
        "https://zenodo.org/records/18164998/files/KuaiRec.zip", "261550d472c48eff4990fb13c0e5bcf7", "kuairec"
    ),
}


def check_published(path: Path) -> bool:
    """Whether `path` has the name of a published archive and its md5; False: the name is not one, nothing was checked.

    Raises SourceError with both sums when they differ.
    """
    archive = PUBLISHED.get(path.name)
    if archive is None:
        return False
    found = md5_of(path)
    if found != archive.md5:
        size = path.stat().st_size
        raise SourceError(
            f"{path}: md5 is {found} ({size} bytes), the published one is {archive.md5}; "
            f"the file is damaged or another one: fetch {archive.url} again"
        )
    return True


def md5_of(path: Path) -> str:
    """The md5 of a file, as publishers give it: against damage, not against forgery."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@contextmanager
def dataset_folder(path: Path, wanted: Callable[[str], bool], what: str) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The folder of a dataset and notes on it: `path` itself, or what is `wanted` of the archive there, unpacked aside.

    Raises SourceError when there is neither (`what` says what is needed); one raised inside names the archive.
    """
    if path.is_dir():
        yield path, ()
        return
    if not path.is_file():
        raise SourceError(f"{path}: no such folder or archive; set ingest.path to {what}")
    note = "md5 is the published one" if check_published(path) else "checksum not verified (no published name)"
    with tempfile.TemporaryDirectory(prefix="watchline-") as directory:
        unpack(path, Path(directory), wanted)
        try:
            yield Path(directory), (f"{path.name}: {note}",)
        except SourceError as error:  # name the archive that people have, not the temporary folder
            raise SourceError(str(error).replace(f"{directory}/", f"{path}: ").replace(directory, str(path))) from None


def unpack(path: Path, directory: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """`unpack_zip` or `unpack_tar`, by what the file is."""
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    return unpack_zip(path, directory, wanted) if is_zip else unpack_tar(path, directory, wanted)


def unpack_zip(path: Path, directory: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """The same as `unpack_tar` for a zip archive, with the same errors; each file's own checksum is verified too."""
    written = []
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                kind = stat.S_IFMT(member.external_attr >> 16)
                regular = member.is_dir() or kind in (0, stat.S_IFREG)
                target = directory / _safe_name(path, member.filename, regular)
                if member.is_dir() or not wanted(target.name):
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as content, target.open("wb") as file:
                    shutil.copyfileobj(content, file, 1 << 20)
                written.append(target)
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        raise SourceError(f"{path}: the archive is cut short or damaged ({error}); get it again") from error
    return written


def unpack_tar(path: Path, directory: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """Write the regular files of a tar archive (gzip or not) whose last name part is `wanted`, keeping their folders.

    Raises SourceError naming the member when its name leads out of `directory` or it is a link or a device, and naming
    the archive when it is cut short or no archive.
    """
    written = []
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                target = directory / _safe_name(path, member.name, member.isfile() or member.isdir())
                if not member.isfile() or not wanted(target.name):
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                content = archive.extractfile(member)
                assert content is not None  # a regular file always has content
                with content, target.open("wb") as file:
                    shutil.copyfileobj(content, file, 1 << 20)
                written.append(target)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk, not the archive
        raise SourceError(f"{path}: the archive is cut short or damaged ({error}); get it again") from error
    return written


def _safe_name(path: Path, member: str, regular: bool) -> PurePosixPath:
    name, windows = PurePosixPath(member), PureWindowsPath(member)
    if name.is_absolute() or windows.drive or windows.is_absolute() or ".." in (*name.parts, *windows.parts):
        raise SourceError(f"{path}: member {member!r} leads out of the folder to unpack into; refused, do not use it")
    if not regular:
        raise SourceError(f"{path}: member {member!r} is a link or a device, not a file; refused, do not use it")
    return name
