"""What training GR costs in memory as its table grows: resident memory that is the process's own, at its highest.

    python benchmarks/memory.py        # about three minutes on one core; --quick for a tenth of the rows

Each size is trained for one epoch in a process of its own, on generated rows. Pages of the memory-mapped columns are
not counted: the system takes them back when it needs the room. The last line is one JSON object: figure -> value,
target, unit, better.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIRST_DAY = date(2024, 3, 1)
DAYS, FACTOR = 7, 4  # training days of the short table, and how many times as many the long one has


def main() -> None:
    """Train on both sizes, print the peaks and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, to see that it runs")
    parser.add_argument("--train", type=int, nargs=2, metavar=("DAYS", "ROWS_A_DAY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train:
        sys.stdout.write(f"{peak_of_training(*arguments.train)}\n")
        return
    rows_a_day = 8_000 if arguments.quick else 80_000
    peaks = []
    for num_days in (DAYS, FACTOR * DAYS):
        command = [sys.executable, __file__, "--train", str(num_days), str(rows_a_day)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        peaks.append(int(done.stdout.splitlines()[-1]) / 2**20)
        print(f"{num_days * rows_a_day:>12,} training rows: {peaks[-1]:8.0f} MiB", flush=True)
    figures = {
        "train_memory_short": (peaks[0], None, "MiB"),
        "train_memory_long": (peaks[1], None, "MiB"),
        "train_memory_growth": (peaks[1] / peaks[0], 1.1, f"x for {FACTOR} x the rows"),
    }
    keys = ("value", "target", "unit")
    print(json.dumps({name: {**dict(zip(keys, of)), "better": "lower"} for name, of in figures.items()}))


def peak_of_training(num_days: int, rows_a_day: int) -> int:
    """Bytes of anonymous memory at their highest while GR trains one epoch on so many days of so many rows."""
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    from tests.helpers.feature_table import COLUMNS, day_rows
    from watchline.data.tables import day_path, scan_days, write_parquet
    from watchline.models import gr
    from watchline.models.base import FitContext
    from watchline.models.common import CommonConfig

    days = [FIRST_DAY + timedelta(days=i) for i in range(num_days + 1)]  # the last one validates
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        for day in days:
            rows = rows_a_day if day != days[-1] else 2_000
            write_parquet(day_rows(day, rows, 5_000, 5_000, 0), day_path(directory, day))
        train, valid = scan_days(directory, days[:-1]), scan_days(directory, days[-1:])
        config = gr.CONFIG(epochs=1, validations_per_epoch=1)
        context = FitContext(directory / "run", lambda line: None)
        with highest_memory() as peak:
            gr.fit(config, CommonConfig(num_threads=1), train, valid, COLUMNS, context)
    return peak[0]


@contextmanager
def highest_memory() -> Iterator[list[int]]:
    """Sample this process's anonymous memory within the block; the list's one entry is the highest, in bytes."""
    peak, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], anonymous_memory())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def anonymous_memory() -> int:
    """Resident bytes that no file backs (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


if __name__ == "__main__":
    main()
