"""Files of DVC's cache whose bytes are not what their name says, or which are not there.

DVC trusts its cache, whose files nobody may write: a file that a failing disk or a hand has changed is handed out as if
it were whole. So outputs that came out of the cache are hashed before a stage goes on with them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

_DIRECTORY = ".dir"  # suffix of the hash of a folder, whose cached file lists the folder's files


def remove_corrupt(root: Path, stages: Sequence[str], say: Callable[[str], None]) -> bool:
    """Remove corrupt cached files of the outputs of `stages`, and these outputs; whether there were any.

    The stages then run again, or `dvc pull` brings their outputs back.
    """
    if not stages:
        return False
    cache = _cache_of(root)
    found = [
        (stage, output["path"], path)
        for stage in stages
        for output in _outputs(root, stage)
        for path in _corrupt(cache, output["md5"])
    ]
    for stage, output, path in found:
        again = f"removed, and so is {output}, which stage {stage} makes again (or `dvc pull` brings)"
        say(f"{path} is corrupt or absent: {again}")
        path.unlink(missing_ok=True)
        _remove(root / output)
    return bool(found)


def _corrupt(cache: Path, name: str) -> Iterator[Path]:
    """Cached files of an output whose hash is `name` that have other bytes or are absent; all of a folder."""
    path = _path_of(cache, name)
    if not _is_whole(path, name.removesuffix(_DIRECTORY)):
        yield path
    elif name.endswith(_DIRECTORY):
        for entry in json.loads(path.read_text(encoding="utf-8")):
            if not _is_whole(_path_of(cache, entry["md5"]), entry["md5"]):
                yield _path_of(cache, entry["md5"])


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _path_of(cache: Path, name: str) -> Path:
    return cache / name[:2] / name[2:]


def _is_whole(path: Path, md5: str) -> bool:
    """Whether the file is there with the bytes of its name."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest() == md5


def _outputs(root: Path, stage: str) -> list[dict[str, Any]]:
    """Path and hash of what a stage's entry in dvc.lock made."""
    entry = yaml.safe_load((root / "dvc.lock").read_text(encoding="utf-8"))["stages"][stage]
    return [out for out in entry.get("outs", []) if "md5" in out]


def _cache_of(root: Path) -> Path:
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        return Path(repo.cache.local.path)
