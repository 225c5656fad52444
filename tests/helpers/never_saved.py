"""For models that a test makes and asks, and nobody keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class NeverSaved:
    """Fails the test that saves or loads the model."""

    def save(self, directory: Path) -> None:
        raise AssertionError(f"{type(self).__name__} was to be saved in {directory}")

    @classmethod
    def load(cls, directory: Path) -> Any:
        raise AssertionError(f"{cls.__name__} was to be loaded from {directory}")
