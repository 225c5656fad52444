"""Watch-time models behind one interface (base.py), found by name."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

from watchline.models.base import WatchTimeModel

# name -> module holding `CONFIG` (its Config class), `MODEL` (its WatchTimeModel class) and `fit`
MODULES = {
    "cqe": "watchline.models.cqe",
    "cread": "watchline.models.cread",
    "d2q": "watchline.models.d2q",
    "egmn": "watchline.models.egmn",
    "ensemble": "watchline.models.ensemble",
    "gr": "watchline.models.gr",
    "lightgbm": "watchline.models.lightgbm",
    "ordinal": "watchline.models.ordinal",
    "tpm": "watchline.models.tpm",
    "vr": "watchline.models.vr",
    "wlr": "watchline.models.wlr",
}


def model_module(name: str) -> ModuleType:
    """The module of a method; raises ValueError listing the names there are."""
    if name not in MODULES:
        raise ValueError(f"unknown model {name!r}; there are {', '.join(sorted(MODULES))}")
    return importlib.import_module(MODULES[name])


def load_model(directory: Path) -> WatchTimeModel:
    """Load any saved model; raises ValueError naming the folder when `model.json` is missing or names no method."""
    path = directory / "model.json"
    if not path.is_file():
        raise ValueError(f"{path}: no such file; {directory} is not a saved model (`dvc checkout` restores it)")
    model: WatchTimeModel = model_module(json.loads(path.read_text())["model"]).MODEL.load(directory)
    return model
