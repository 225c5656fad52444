"""Composition of params.yaml from conf/, the same one that `dvc exp run` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def compose_params(root: Path, overrides: Sequence[str] = (), output: Path | None = None) -> Path:
    """Compose conf/config.yaml with Hydra `overrides` into params.yaml (or `output`) and return its path.

    Raises Hydra's own error, which names the key, for an override of a parameter that does not exist.
    """
    from dvc.utils.hydra import compose_and_dump  # internal to DVC: used here and nowhere else

    target = output or root / "params.yaml"
    compose_and_dump(str(target), str(root / "conf"), None, "config", None, list(overrides))
    return target
