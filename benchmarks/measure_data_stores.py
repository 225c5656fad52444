"""The feature store at size: point-in-time join through Feast's API, and online reads.

    python benchmarks/measure_data_stores.py            # about a minute on two cores; --quick for a tenth

Four views over generated rows, a snapshot of each entity a day that holds for a day, as the line's own; every engine
runs in a process of its own, whose highest resident memory is counted from its start, imports and entity rows included.
CPU seconds are given beside elapsed ones: those say less on a machine that has other work. Online reads are those of
one feature service, held, after a warm-up. The last line is one JSON object: figure -> value, target, unit, better.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402

from benchmarks.figures import Figure, report  # noqa: E402

START, DAYS = datetime(2024, 3, 1, tzinfo=UTC), 14
NUM_USERS, NUM_VIDEOS, NUM_SURFACES = 30_000, 8_000, 4
VIEWS = {"user": ("user_id",), "video": ("video_id",), "pair": ("user_id", "surface"), "shown": ("video_id", "surface")}
SIZES = {"user_id": NUM_USERS, "video_id": NUM_VIDEOS, "surface": NUM_SURFACES}
FEATURES = ("exposures", "mean", "median", "rate")
OFFLINE = {"polars": "watchline.feature_store.polars_store.PolarsOfflineStore", "duckdb": "duckdb"}
ONLINE = "watchline.feature_store.sqlite_store.SqliteRowsOnlineStore"
MIB = 2**20


def main() -> None:
    """Print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000, help="entity rows of the join")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, to see that it runs")
    parser.add_argument("--measure", nargs=3, metavar=("WHAT", "FOLDER", "ROWS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        what, folder, rows = arguments.measure
        print(json.dumps(MEASURES[what](Path(folder), int(rows))))
        return
    rows = arguments.rows // 10 if arguments.quick else arguments.rows
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_views(folder)
        report([partial(joins, folder, rows), partial(reads, folder)])


def joins(folder: Path, rows: int) -> dict[str, Figure]:
    """Seconds and memory of the whole join in Polars and on DuckDB, which must give the same values."""
    ours, theirs = (in_a_process(engine, folder, rows) for engine in OFFLINE)
    if ours["checksum"] != theirs["checksum"]:
        raise AssertionError(f"the engines differ: {ours['checksum']} and {theirs['checksum']}")
    return {
        f"join_{rows}_rows_x_4_views": Figure(ours["seconds"], 2.0, "s", "lower"),
        "join_cpu": Figure(ours["cpu"], None, "s", "lower"),
        "join_peak_memory": Figure(ours["peak"] / MIB, 2048.0, "MiB", "lower"),
        "join_peak_memory_before_it": Figure(ours["before"] / MIB, None, "MiB", "lower"),
        "join_on_duckdb": Figure(theirs["seconds"], None, "s", "lower"),
        "join_on_duckdb_cpu": Figure(theirs["cpu"], None, "s", "lower"),
        "join_on_duckdb_peak_memory": Figure(theirs["peak"] / MIB, None, "MiB", "lower"),
        "join_speedup_over_duckdb": Figure(theirs["seconds"] / ours["seconds"], 10.0, "x"),
    }


def reads(folder: Path) -> dict[str, Figure]:
    """Median and 99th percentile of online reads of 1 and of 100 rows."""
    found = in_a_process("online", folder, 0)
    targets = {"read_1_row_p50": 0.5, "read_100_rows_p50": 10.0}
    return {name: Figure(value, targets.get(name), "ms", "lower") for name, value in found.items()}


def in_a_process(what: str, folder: Path, rows: int) -> dict[str, Any]:
    """What one of MEASURES gives in a fresh Python."""
    command = [sys.executable, __file__, "--measure", what, str(folder), str(rows)]
    done = subprocess.run(command, env={**os.environ}, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def write_views(folder: Path) -> None:
    """A row per view, entity and day for about two thirds of the entities of a day."""
    rng = np.random.default_rng(0)
    for name, keys in VIEWS.items():
        size = int(np.prod([SIZES[key] for key in keys]))
        days = []
        for day in range(DAYS):
            entities = np.flatnonzero(rng.random(size) < 0.66)
            columns = dict(zip(keys, np.unravel_index(entities, [SIZES[key] for key in keys])))
            values = {feature: rng.normal(size=len(entities)).round(3) for feature in FEATURES}
            moment = pl.lit(START + timedelta(days=day)).cast(pl.Datetime("us", "UTC"))
            days.append(pl.DataFrame(columns | values).with_columns(event_timestamp=moment))
        pl.concat(days).with_columns(pl.col(keys).cast(pl.Int64)).write_parquet(folder / f"{name}.parquet")


def open_store(folder: Path, engine: str) -> Any:
    """A repository of the four views, and a service of all their features."""
    from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float64, Int64

    entities = {key: Entity(name=key, join_keys=[key], value_type=ValueType.INT64) for key in SIZES}
    views = [
        FeatureView(
            name=name,
            entities=[entities[key] for key in keys],
            ttl=timedelta(days=1),
            schema=[*(Field(name=k, dtype=Int64) for k in keys), *(Field(name=f, dtype=Float64) for f in FEATURES)],
            source=FileSource(name=name, path=str(folder / f"{name}.parquet"), timestamp_field="event_timestamp"),
        )
        for name, keys in VIEWS.items()
    ]
    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(folder / f"{engine}.db"),
        offline_store={"type": OFFLINE[engine]},
        online_store={"type": ONLINE, "path": str(folder / "online.db")},
        entity_key_serialization_version=3,
        repo_path=folder,
    )
    store = FeatureStore(config=config)
    store.apply([*entities.values(), *views, FeatureService(name="all", features=views)])
    return store


def join(engine: str, folder: Path, rows: int) -> dict[str, Any]:
    """Seconds of one join, retrieval to result, and memory before and after; Polars in and out, or pandas and Arrow."""
    store = open_store(folder, engine)
    service = store.get_feature_service("all")
    entities: Any = requests(rows)
    if engine != "polars":
        entities = entities.to_pandas()
    before = peak_memory()
    start, start_cpu = time.perf_counter(), time.process_time()
    job = store.get_historical_features(entities, service, full_feature_names=True)
    table = job.to_polars() if engine == "polars" else pl.DataFrame(pl.from_arrow(job.to_arrow()))
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    values = table.select(pl.col(pl.Float64).fill_nan(None))
    # Sums of thousandths as integers: the same in any order of rows.
    checksum = values.select((pl.all() * 1000).round().cast(pl.Int64).sum()).row(0, named=True)
    sorted_checksum = dict(sorted(checksum.items()))
    return {"seconds": seconds, "cpu": cpu, "before": before, "peak": peak_memory(), "checksum": sorted_checksum}


def requests(rows: int) -> pl.DataFrame:
    """Entity rows at any moment of the days, some of entities without a snapshot."""
    rng = np.random.default_rng(1)
    keys = {key: rng.integers(0, size, rows) for key, size in SIZES.items()}
    micros = pl.Series(rng.integers(0, DAYS * 86_400_000_000, rows)).cast(pl.Duration("us"))
    return pl.DataFrame(keys).with_columns(event_timestamp=micros + START)


def online_reads(folder: Path, _: int) -> dict[str, float]:
    """Milliseconds of reads with a held service: 1 and 100 rows of random entities."""
    from watchline.feature_store.materialise import materialise

    store = open_store(folder, "polars")
    materialise(store, START + timedelta(days=DAYS - 1))
    service, asked = store.get_feature_service("all"), requests(20_000)
    found: dict[str, float] = {}
    for size, repeats in ((1, 2_000), (100, 200)):
        batches = [part.select(*SIZES).to_dict(as_series=False) for part in asked[: size * repeats].iter_slices(size)]
        timed = [
            elapsed_ms(lambda batch=batch: store.get_online_features(service, batch, full_feature_names=True))
            for batch in batches
        ]
        name = f"read_{size}_row{'s' * (size > 1)}"
        found[f"{name}_p50"], found[f"{name}_p99"] = np.percentile(timed[len(timed) // 10 :], [50, 99]).tolist()
    return found


def elapsed_ms(call: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


def peak_memory() -> int:
    """Highest resident memory of this process so far, bytes (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


MEASURES: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "polars": partial(join, "polars"),
    "duckdb": partial(join, "duckdb"),
    "online": online_reads,
}


if __name__ == "__main__":
    main()
