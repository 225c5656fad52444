"""What the stages left in their metrics.json, and the little that is computed from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from watchline.report import Verdict, read_json
from watchline.report.metric_words import DISTANCE

SINGLE_STAGES = ("ingest", "validate", "features", "finetune", "evaluate", "abtest", "drift")
JUDGING_STAGES = ("validate", "abtest", "drift")

Metrics = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """metrics.json of every stage, of each model's training, and the MD5 of each of these files by its path."""

    stages: dict[str, Metrics]
    training: dict[str, Metrics]
    md5: dict[str, str]


def read_run(reports: Path, models: Sequence[str]) -> Run:
    """Everything; raises ValueError naming a file that is missing or lacks what every later page needs."""
    keys = {stage: ["verdict"] for stage in JUDGING_STAGES} | {"evaluate": ["models"]}
    stages = {stage: read_json(reports / stage / "metrics.json", keys.get(stage, ())) for stage in SINGLE_STAGES}
    training = {name: read_json(reports / "train" / name / "metrics.json") for name in models}
    names = [*SINGLE_STAGES, *(f"train/{name}" for name in models)]
    # As dvc.lock has them: `git log --all -S MD5 -- dvc.lock` finds the commit of a run.
    md5 = {
        f"reports/{name}/metrics.json": hashlib.md5(
            (reports / name / "metrics.json").read_bytes(), usedforsecurity=False
        ).hexdigest()
        for name in names
    }
    return Run(stages, training, md5)


def verdict_of(metrics: Metrics) -> Verdict:
    """The verdict a stage wrote."""
    return Verdict(metrics["verdict"]["status"], metrics["verdict"]["text"])


def look_up(metrics: Metrics, path: str) -> Any:
    """The value at `path` (dots descend), or None where there is none."""
    value: Any = metrics
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def best_model(models: dict[str, Metrics], metric: str) -> str | None:
    """The model nearest to the ideal of `metric`; None where no model has the metric or it has no ideal."""
    known = {name: values[metric] for name, values in models.items() if values.get(metric) is not None}
    if not known or metric not in DISTANCE:
        return None
    return min(known, key=lambda name: (DISTANCE[metric](known[name]), name))


def number_format(metric: str) -> str:
    """How many digits of a metric are shown."""
    return ".4f" if "auc" in metric else ".3f"


def digest(values: Any) -> str:
    """12 hex digits of what `values` (JSON-able) hold, whatever the order of keys."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
