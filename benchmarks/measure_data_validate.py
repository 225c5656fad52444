"""Validation of 5M rows: row rules, quarantine, Great Expectations and the page, from a cold cache and a warm one."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import child, data_line
from benchmarks.figures import Figure
from tests.helpers.canonical import write_canonical

ROWS, DAYS = 5_000_000, 14


def measure(quick: bool) -> dict[str, Figure]:
    """Wall seconds and peak memory of the stage, the import of Great Expectations (seconds) included."""
    rows = ROWS // 10 if quick else ROWS
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        child.run("benchmarks.measure_data_validate:write_tables", rows, directory=directory)
        data_line.write_params(directory, DAYS)
        cold = child.run("benchmarks.data_line:run_validate", directory=directory)
        warm = child.run("benchmarks.data_line:run_validate", directory=directory)
    return {
        "validate_5m": Figure(cold.wall_s, 25, "s", "lower"),
        "validate_5m_cpu": Figure(cold.cpu_s, None, "s", "lower"),
        "validate_5m_peak": Figure(cold.peak_gb, 3, "GB", "lower"),
        "validate_5m_warm": Figure(warm.wall_s, None, "s", "lower"),
    }


def write_tables(rows: int) -> None:
    """Canonical tables in data/ingest."""
    write_canonical(Path("data/ingest"), days=DAYS, exposures=rows, first_day=data_line.FIRST_DAY)
