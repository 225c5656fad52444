"""Which columns of the feature table are what."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Columns:
    """Which columns of the feature table are what; written by the features stage as schema.json."""

    label: str
    keys: tuple[str, ...]
    categorical: tuple[str, ...]
    numeric: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read schema.json; raises FileNotFoundError or KeyError naming what is missing."""
        values = json.loads(path.read_text())
        return cls(values["label"], tuple(values["keys"]), tuple(values["categorical"]), tuple(values["numeric"]))
