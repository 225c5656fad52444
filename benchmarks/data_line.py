"""A generated log in KuaiRand's format and the stages that read it, for the benchmarks of the data stages."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

import yaml

from tests.helpers.kuairand_files import LOG_NAME, write_kuairand
from watchline.stages import features, ingest, validate

ROOT = Path(__file__).resolve().parents[1]
FIRST_DAY = date(2022, 4, 22)
INGEST = ["--raw", "raw", "--out", "data/ingest", "--report", "reports/ingest"]
FEATURES = ["--tables", "data/validate", "--repo", "features", "--out", "data/features"]
VALIDATE = ["--tables", "data/ingest", "--out", "data/validate", "--quarantine", "data/quarantine"]


def write_raw(directory: Path, days: int, rows: int) -> Path:
    """Write `directory`/raw with a log of so many days and rows in all; returns the log."""
    write_kuairand(directory / "raw", days=days, exposures=rows, first_day=FIRST_DAY)
    return directory / "raw/data" / LOG_NAME


def write_params(directory: Path, days: int) -> None:
    """params.yaml for the stages with a window of all of the first `days` days."""
    window = {
        "end": (FIRST_DAY + timedelta(days=days - 1)).isoformat(),
        "eval_days": 1,
        "finetune_days": 1,
        "valid_days": 1,
        "train_days": days - 3,
    }
    values = {"ingest": {"source": "kuairand", "path": "raw"}, "window": window}
    values |= {
        name: yaml.safe_load((ROOT / f"conf/{name}/default.yaml").read_text()) for name in ("validate", "features")
    }
    (directory / "params.yaml").write_text(yaml.safe_dump(values))
    # The online store lies beside the repository of definitions: a copy of it is a store of this line's own.
    shutil.copytree(ROOT / "features", directory / "features", dirs_exist_ok=True)


def run_ingest() -> None:
    """The stage, in the working directory."""
    ingest.main(INGEST)


def run_validate() -> None:
    """The stage, in the working directory; the time of importing Great Expectations counts."""
    validate.main([*VALIDATE, "--report", "reports/validate"])


def run_features() -> None:
    """The stage, in the working directory; the time of importing Feast counts."""
    features.main([*FEATURES, "--report", "reports/features"])
