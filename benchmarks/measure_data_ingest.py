"""Ingest of a log to partitioned Parquet from a cold cache, against plain pandas, and again from a warm one."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pandas as pd

from benchmarks import child, data_line
from benchmarks.figures import Figure
from watchline.config import load_section
from watchline.data.day_cache import DayCache, code_digest
from watchline.data.splits import Window
from watchline.stages import ingest

ROWS, DAYS = 1_400_000, 14


def measure(quick: bool) -> dict[str, Figure]:
    """Rows a second (wall), ratio of wall times to pandas, peak memory; the whole stage, report included, counts."""
    rows = ROWS // 10 if quick else ROWS
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        log = data_line.write_raw(directory, DAYS, rows)
        data_line.write_params(directory, DAYS)
        core = child.run("benchmarks.measure_data_ingest:read_and_write", directory=directory)
        shutil.rmtree(directory / "runs")
        cold = child.run("benchmarks.data_line:run_ingest", directory=directory)
        warm = child.run("benchmarks.data_line:run_ingest", directory=directory)
        plain = child.run("benchmarks.measure_data_ingest:with_pandas", str(log), str(directory / "plain"))
    return {
        "ingest_rows_per_s": Figure(rows / core.wall_s, 700_000, "rows/s"),
        "ingest_rows_per_cpu_s": Figure(rows / core.cpu_s, None, "rows/s"),
        "ingest_times_pandas": Figure(plain.wall_s / core.wall_s, 5, "x"),
        "ingest_peak": Figure(cold.peak_gb, 1.5, "GB", "lower"),
        "ingest_stage_cold": Figure(cold.wall_s, None, "s", "lower"),
        "ingest_stage_warm": Figure(warm.wall_s, None, "s", "lower"),
        "ingest_pandas_peak": Figure(plain.peak_gb, None, "GB", "lower"),
    }


def read_and_write() -> None:
    """The raw files into tables, without the page."""
    name, config = ingest.load_ingest()
    cache = DayCache(ingest.CACHE, code_digest("data"))
    ingest.ingest(name, config, Path("raw"), load_section(Window, "window"), Path("data/ingest"), cache)


def with_pandas(log: str, out: str) -> None:
    """The same of the log alone, as one writes it in pandas: read, convert, sort, a Parquet file per day."""
    frame = pd.read_csv(log)
    frame["exposed_at"] = pd.to_datetime(frame.pop("time_ms"), unit="ms", utc=True)
    frame["date"] = pd.to_datetime(frame["date"].astype(str), format="%Y%m%d")
    for name in ("play_time_ms", "duration_ms", "profile_stay_time", "comment_stay_time"):
        frame[name] = frame[name] / 1000.0
    flags = [name for name in frame.columns if name.startswith("is_") or name == "long_view"]
    frame[flags] = frame[flags].astype(bool)
    for day, rows in frame.groupby("date"):
        path = Path(out) / f"date={day:%Y-%m-%d}"  # type: ignore[str-bytes-safe]
        path.mkdir(parents=True)
        rows.sort_values(["exposed_at", "user_id", "video_id", "tab"]).to_parquet(
            path / "part-0.parquet", compression="zstd", index=False
        )
