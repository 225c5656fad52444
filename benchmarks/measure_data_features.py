"""Daily statistics at the size of KuaiRec's big matrix: seconds and peak memory, and what one new day costs.

    python benchmarks/measure_data_features.py            # a few minutes; --rows for another size

Generated exposures (62 days, 7,176 users, 10,728 videos) lie on disk as validate leaves them; the statistics of every
day are made into a cold cache, then those of one new day into a warm one, each in a process of its own with the
parameters of conf/. The last line is one JSON object: figure -> value, target, unit, better.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(root), str(root / "src")]

import numpy as np
import polars as pl

from watchline.config import parse, read_params
from watchline.data.day_cache import DayCache
from watchline.data.schema import TIMESTAMP
from watchline.data.tables import day_path, days_on_disk, write_parquet
from watchline.feature_store.history import Exposures
from watchline.feature_store.sources import FeaturesConfig, Statistics

ROOT = Path(__file__).resolve().parents[1]
USERS, VIDEOS, AUTHORS, TOPICS, DAYS = 7_176, 10_728, 8_000, 31, 62
FIRST_DAY = date(2020, 7, 5)


def main() -> None:
    """Generate, run cold, run warm with one day more, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=12_500_000)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--compute", nargs=2, type=Path, metavar=("FOLDER", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.compute:
        print(json.dumps(compute(*arguments.compute)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        generate(folder, arguments.rows, arguments.days)
        last = day_path(folder / "exposures", FIRST_DAY + timedelta(days=arguments.days - 1)).parent
        last.rename(folder / "held")
        before = measured(folder, "cold")
        (folder / "held").rename(last)
        new_day, whole = measured(folder, "cold"), measured(folder, "colder")
    print(f"{arguments.rows:,} rows: {before['seconds']:.1f} s without the last day, then {new_day['seconds']:.1f} s")
    memory = max(before["gb"], new_day["gb"], whole["gb"])
    figures = {
        "daily_statistics_s": figure(whole["seconds"], 60, "s"),
        "daily_statistics_memory": figure(memory, 4, "GB"),
        "daily_statistics_new_day": figure(new_day["seconds"] / whole["seconds"], 0.2, "share"),
    }
    print(json.dumps(figures))


def figure(value: float, target: float, unit: str) -> dict[str, Any]:
    """One entry of the closing JSON."""
    return {"value": round(value, 3), "target": target, "unit": unit, "better": "lower"}


def measured(folder: Path, cache: str) -> dict[str, float]:
    """One run in a process of its own."""
    command = [sys.executable, __file__, "--compute", folder, folder / cache]
    output = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def compute(folder: Path, out: Path) -> dict[str, Any]:
    """Statistics of every day on disk and of the one after."""
    started = time.perf_counter()
    config = parse(FeaturesConfig, read_params(ROOT / "params.yaml")["features"], "features")
    days = days_on_disk(folder / "exposures")
    exposures = Exposures(folder / "exposures", days, pl.read_parquet(folder / "videos.parquet"), 8.0)
    statistics = Statistics(exposures, config, DayCache(out / "cache", "benchmark"))
    rows = statistics.write([*days, days[-1] + timedelta(days=1)], out / "sources")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return {"seconds": time.perf_counter() - started, "gb": peak, "rows": rows}


def generate(folder: Path, num_rows: int, num_days: int) -> None:
    """Exposures of `num_days` days: popular videos more often, lognormal watch times, one in ten a skip."""
    rng = np.random.default_rng(0)
    videos = np.arange(VIDEOS)
    author = rng.integers(0, AUTHORS, VIDEOS)
    topic = pl.Series([f"t{value}" for value in rng.integers(0, TOPICS, VIDEOS)])
    write_parquet(pl.DataFrame({"video_id": videos, "author_id": author, "topic": topic}), folder / "videos.parquet")
    popularity = 1 / (videos + 50)
    duration = rng.lognormal(2.4, 0.5, VIDEOS).round(3)
    for i in range(num_days):
        day, size = FIRST_DAY + timedelta(days=i), num_rows // num_days
        video = rng.choice(VIDEOS, size, p=popularity / popularity.sum())
        start = np.datetime64(day.isoformat(), "us").astype(np.int64) - 8 * 3_600_000_000
        watch = np.where(rng.random(size) < 0.1, 0.0, rng.lognormal(2, 1, size)).round(3)
        rows = {
            "user_id": rng.integers(0, USERS, size),
            "video_id": video,
            "exposed_at": pl.Series(start + np.sort(rng.integers(0, 86_400_000_000, size))).cast(TIMESTAMP),
            "date": pl.repeat(day, size, dtype=pl.Date, eager=True),
            "surface": pl.zeros(size, dtype=pl.Int64, eager=True),
            "watch_time_s": watch,
            "duration_s": duration[video],
        }
        write_parquet(pl.DataFrame(rows), day_path(folder / "exposures", day))


if __name__ == "__main__":
    main()
