"""How fast sessions of the simulated A/B test run and how much memory they hold, with real models and Feast's join.

    python benchmarks/abtest.py          # minutes on two cores, after `dvc repro`; --quick: a fortieth of the sessions

Reads the line's own data/, models/ and params.yaml in the working directory, which `dvc repro` leaves, and asks the
requests of the eval days over and over, each time with other candidates. The last line is one JSON object: figure ->
value, target, unit, better.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from functools import partial
from pathlib import Path

EXPOSURES, MINUTES = 1_000_000, 5.0  # the target: so many exposures of both arms in so many minutes
SESSIONS = 80_000  # about a million exposures by default parameters
PROCESSES = 2


def main() -> None:
    """Run the sessions, print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fortieth of the sessions, to see that it runs")
    arguments = parser.parse_args()
    from benchmarks.figures import report

    report([partial(measure, SESSIONS // 40 if arguments.quick else SESSIONS)])


def measure(sessions: int) -> dict:
    """Exposures a second, minutes that a million takes (wall, and CPU of the workers), and all processes' memory."""
    from benchmarks.figures import Figure
    from watchline.experiment.processes import simulate

    requests, expected_s, world = load_test(sessions)
    start = time.perf_counter()
    done = simulate(requests, expected_s, world, processes=PROCESSES, num_threads=1, progress=lambda message: None)
    wall_s = time.perf_counter() - start
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + PROCESSES * children.ru_maxrss
    cpu_minutes = (children.ru_utime + children.ru_stime) / 60
    return {
        "abtest_exposures": Figure(len(done.log), None, "rows"),
        "abtest_exposures_per_second": Figure(len(done.log) / wall_s, EXPOSURES / (60 * MINUTES), "rows/s"),
        "abtest_minutes_per_million": Figure(wall_s / 60 * EXPOSURES / len(done.log), MINUTES, "min", "lower"),
        "abtest_cpu_minutes_per_million": Figure(
            cpu_minutes * EXPOSURES / len(done.log), PROCESSES * MINUTES, "min", "lower"
        ),
        "abtest_memory_of_processes": Figure(held / 2**20, 8.0, "GB", "lower"),
    }


def load_test(sessions: int) -> tuple:
    """So many requests of the eval days, what their users expect, and the world of the default test."""
    import polars as pl

    from watchline.config import load_section
    from watchline.data.columns import Columns
    from watchline.data.splits import Window
    from watchline.data.tables import read_split
    from watchline.experiment.config import AbtestConfig
    from watchline.experiment.environments.choice import make_environment
    from watchline.experiment.past import expected_watch_s, pre_period, read_past
    from watchline.experiment.requests import draw_requests
    from watchline.experiment.sweep import Sweep
    from watchline.experiment.trained import load_arm
    from watchline.stages.abtest import make_world
    from watchline.training.seeding import seed_everything

    features = Path("data/features")
    config, window = load_section(AbtestConfig, "abtest"), load_section(Window, "window")
    seed_everything(config.seed, 1)
    columns = Columns.read(features / "schema.json")
    arms = {arm: load_arm(config, arm, Path("models"), columns.label) for arm in config.arms}
    table = read_split(features / "table", window, "eval")
    environment = make_environment(config, Path("data/ingest/law"), features / "table", table, columns)
    drawn = draw_requests(table, sessions, config.seed)
    copies = pl.concat([drawn] * -(-sessions // len(drawn)))[:sessions]
    requests = copies.with_columns(request_id=pl.int_range(pl.len(), dtype=pl.Int64))
    past = read_past(features / "table", window, config)
    none = Sweep({}, config.control)
    world = make_world(config, arms, none, environment, requests, past, Path("features"), features)
    expected_s = expected_watch_s(requests["user_id"].to_numpy(), pre_period(past, window, config))
    return requests, expected_s, world


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(root), str(root / "src")]
    main()
