"""The real excerpt for benchmarks: arguments that name it, and its parameters and features made from the raw log.

Train to 2022-05-01, validation on 05-02, test on 05-03 and 05-04.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.params import compose_params
from watchline.config import read_params

ROOT = Path(__file__).resolve().parents[1]
DAYS = {"end": "2022-05-04", "eval_days": 2, "finetune_days": 0, "valid_days": 1, "train_days": 7}


def parser(description: str, overrides: Sequence[str]) -> argparse.ArgumentParser:
    """Arguments of every benchmark on the excerpt; `overrides` are the Hydra overrides unless others are given."""
    arguments = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = arguments.add_mutually_exclusive_group(required=True)
    source.add_argument("--raw", type=Path, help="folder or archive of KuaiRand-Pure")
    source.add_argument("--features", type=Path, help="data/features of an earlier run")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--set", nargs="*", default=list(overrides), dest="overrides", help="Hydra overrides")
    return arguments


@contextmanager
def prepared(arguments: argparse.Namespace, days: Mapping[str, Any] = DAYS) -> Iterator[tuple[dict[str, Any], Path]]:
    """Composed parameters and the folder of features, built in a temporary folder unless `--features` names one."""
    with tempfile.TemporaryDirectory() as scratch:
        work, raw = Path(scratch), arguments.raw
        path = [f"ingest.path={raw}"] if raw else []
        window = [f"window.{key}={value}" for key, value in days.items()]
        compose_params(ROOT, ["ingest=kuairand", *path, *window, *arguments.overrides], work / "params.yaml")
        features = arguments.features or _build_features(work, raw.resolve())
        yield read_params(work / "params.yaml"), features


def _build_features(work: Path, raw: Path) -> Path:
    """Run the first three stages as programs in `work`; returns its feature folder."""
    shutil.copytree(ROOT / "features", work / "features")
    tables, clean, features = (work / "data" / name for name in ("ingest", "validate", "features"))
    steps = {
        "ingest": ["--raw", raw, "--out", tables],
        "validate": ["--tables", tables, "--out", clean, "--quarantine", work / "data/quarantine"],
        "features": ["--tables", clean, "--repo", "features", "--out", "data/features"],
    }
    for stage, paths in steps.items():
        command = [sys.executable, "-m", f"watchline.stages.{stage}", *map(str, paths), "--report", f"reports/{stage}"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        subprocess.run(command, cwd=work, env=environment, check=True, stdout=sys.stderr)
    return features
