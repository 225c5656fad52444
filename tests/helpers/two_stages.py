"""Ingest and validate in the working directory, by its params.yaml."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from watchline.stages import ingest, validate


def ingest_and_validate(raw: str) -> dict[str, Any]:
    """Run both on the log at `raw`; returns what validate measured."""
    ingest.main(["--raw", raw, "--out", "data/ingest", "--report", "reports/ingest"])
    folders = ["--tables", "data/ingest", "--out", "data/validate", "--quarantine", "data/quarantine"]
    validate.main([*folders, "--report", "reports/validate"])
    measured: dict[str, Any] = json.loads(Path("reports/validate/metrics.json").read_text())
    return measured
