"""Published archives: where they are, their checksums, and unpacking that never leaves its folder."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import zlib
from collections.abc import Callable
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
}


def check_published(path: Path) -> bool:
    """Whether `path` has the name of a published archive and its md5; False: the name is not one, nothing was checked.

    Raises SourceError with both sums when they differ.
    """
    archive = PUBLISHED.get(path.name)
    if archive is None:
        return False
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != archive.md5:
        size = path.stat().st_size
        raise SourceError(
            f"{path}: md5 is {found} ({size} bytes), the published one is {archive.md5}; "
            f"the file is damaged or another one: fetch {archive.url} again"
        )
    return True


def unpack_tar(path: Path, directory: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """Write the regular files of a tar archive (gzip or not) whose last name part is `wanted`, keeping their folders.

    Raises SourceError naming the member when its name leads out of `directory` or it is a link or a device, and naming
    the archive when it is cut short or no archive.
    """
    written = []
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                target = directory / _safe_name(path, member)
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


def _safe_name(path: Path, member: tarfile.TarInfo) -> PurePosixPath:
    name = PurePosixPath(member.name)
    windows = PureWindowsPath(member.name)
    if name.is_absolute() or windows.drive or windows.is_absolute() or ".." in (*name.parts, *windows.parts):
        raise SourceError(
            f"{path}: member {member.name!r} leads out of the folder to unpack into; refused, do not use it"
        )
    if not (member.isfile() or member.isdir()):
        raise SourceError(f"{path}: member {member.name!r} is a link or a device, not a file; refused, do not use it")
    return name
