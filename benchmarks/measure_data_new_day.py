"""A 14th day at the end of a log of 13: what ingest, validate and features cost for it, against doing all 14 days."""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

from benchmarks import child, data_line
from benchmarks.figures import Figure

ROWS, DAYS = 5_000_000, 14
STAGES = {name: f"benchmarks.data_line:run_{name}" for name in ("ingest", "validate", "features")}


def measure(quick: bool) -> dict[str, Figure]:
    """Wall seconds of each stage for all days and for the new one, and their ratio; starting Python is left out."""
    rows = ROWS // 10 if quick else ROWS
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        child.run("benchmarks.measure_data_new_day:write_logs", rows, directory=directory)
        log = next(directory.glob("raw/data/log_*.csv"))
        _run(directory, DAYS - 1)
        (directory / "whole.csv").replace(log)
        new = _run(directory, DAYS)
        shutil.rmtree(directory / "runs")
        full = _run(directory, DAYS)
    figures = {}
    for stage in STAGES:
        figures[f"new_day_{stage}"] = Figure(new[stage].wall_s, None, "s", "lower")
        figures[f"all_days_{stage}"] = Figure(full[stage].wall_s, None, "s", "lower")
    wall = [sum(runs[stage].wall_s for stage in STAGES) for runs in (new, full)]
    cpu = [sum(runs[stage].cpu_s for stage in STAGES) for runs in (new, full)]
    figures["new_day_share"] = Figure(wall[0] / wall[1], 0.2, "of all days", "lower")
    figures["new_day_share_cpu"] = Figure(cpu[0] / cpu[1], None, "of all days", "lower")
    return figures


def write_logs(rows: int) -> None:
    """raw/ with the log of all but the last day, and whole.csv."""
    log = data_line.write_raw(Path(), DAYS, rows)
    shutil.copyfile(log, "whole.csv")
    last = (data_line.FIRST_DAY + timedelta(days=DAYS - 1)).strftime("%Y%m%d")
    with Path("whole.csv").open() as lines, log.open("w") as kept:
        kept.writelines(line for line in lines if line.split(",", 3)[2] != last)


def _run(directory: Path, days: int) -> dict[str, child.Run]:
    data_line.write_params(directory, days)
    return {stage: child.run(function, directory=directory) for stage, function in STAGES.items()}
