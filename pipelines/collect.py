"""What an experiment's commit tracks, brought into a folder of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

RECORD = "run.json"  # which experiment a folder is of


def collect(root: Path, commit: str | None, name: str, place: Path, models: Sequence[str]) -> None:
    """Make `place` hold the evaluation of the experiment `name` at `commit`, and the training metrics of `models`.

    A folder that holds it already is left alone; one of another experiment is removed, and stays so where `commit` is
    None: an old run must not stand for one that failed.
    """
    record = place / RECORD
    if record.is_file() and json.loads(record.read_text())["experiment"] == name:
        return
    shutil.rmtree(place, ignore_errors=True)
    if commit is None:
        return
    from dvc.api import DVCFileSystem

    partial = place.with_name(place.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    tracked = DVCFileSystem(str(root), rev=commit)
    files = ["reports/evaluate/metrics.json", *(f"reports/train/{model}/metrics.json" for model in models)]
    for path in files:
        (partial / path).parent.mkdir(parents=True, exist_ok=True)
        tracked.get_file(path, str(partial / path))
    tracked.get("data/evaluate", str(partial / "data/evaluate"), recursive=True)
    (partial / RECORD).write_text(json.dumps({"experiment": name, "commit": commit}) + "\n")
    partial.rename(place)
