"""The name of a run: a hash of all that its result depends on, so that only the same run rejoins its checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

import watchline


def fingerprint(params: dict[str, Any], files: Iterable[Path]) -> str:
    """16 hex digits over `params` (JSON-able), the contents of `files`, the package's own code and torch's version."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(json.dumps([params, torch.__version__], sort_keys=True, default=str).encode())
    for path in [*files, *sorted(Path(watchline.__file__).parent.rglob("*.py"))]:
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "blake2b").digest())
    return digest.hexdigest()
