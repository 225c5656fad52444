"""What a flow run costs over plain `dvc repro`: on a line where everything is cached, and on one where all stages run.

    python benchmarks/flow_overhead.py

The small line of tests/stages, in two checkouts of their own: DVC runs one, the flow the other, with the project's
service running beside it (its own costs are not counted). Elapsed seconds are what the target is for; processor
seconds, of the command and all it starts, move less on a busy machine.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.figures import Figure, report  # noqa: E402
from pipelines.params import compose_params  # noqa: E402
from pipelines.service_lock import running  # noqa: E402
from tests.helpers.line_checkout import SMALL, WEEK, checkout, commit, environment  # noqa: E402
from tests.helpers.service import serving  # noqa: E402

TARGET_S = 15.0
DVC = ["dvc", "repro"]
FLOW = [sys.executable, "-m", "pipelines", "run", "--record", "workspace"]


@dataclass(frozen=True)
class Cost:
    """Seconds of a command with all it started: elapsed, and of the processors."""

    wall_s: float
    cpu_s: float


def measure() -> dict[str, Figure]:
    """Both lines from nothing and once more; what the flow adds."""
    with tempfile.TemporaryDirectory(prefix="watchline-overhead-") as scratch:
        plain, flow = (small_line(Path(scratch) / name) for name in ("plain", "flow"))
        dvc_all, dvc_cached = cost(DVC, plain), cost(DVC, plain)
        with serving(flow, Path(scratch) / "service.log"):
            while running(flow) is None:
                time.sleep(1)
            flow_all, flow_cached = cost(FLOW, flow), cost(FLOW, flow)
    return {
        **figures("cached", dvc_cached, flow_cached),
        **figures("all_stages", dvc_all, flow_all),
    }


def figures(line: str, plain: Cost, flow: Cost) -> dict[str, Figure]:
    """The costs of one line by DVC and by the flow, and their difference."""
    return {
        f"{line}_dvc_repro": Figure(plain.wall_s, None, "s", "lower"),
        f"{line}_flow": Figure(flow.wall_s, None, "s", "lower"),
        f"{line}_overhead": Figure(flow.wall_s - plain.wall_s, TARGET_S, "s", "lower"),
        f"{line}_overhead_cpu": Figure(flow.cpu_s - plain.cpu_s, None, "s", "lower"),
    }


def small_line(root: Path) -> Path:
    """A checkout whose default is the small line."""
    checkout(root)
    values = [*WEEK, *(f"{key}={value}" for key, value in SMALL.items())]
    compose_params(root, values)
    config = root / "conf/experiment/small.yaml"
    config.write_text("# @package _global_\n" + (root / "params.yaml").read_text())
    default = root / "conf/config.yaml"
    default.write_text(default.read_text().replace("optional experiment: null", "experiment: small"))
    commit(root, "small")
    return root


def cost(command: list[str], root: Path) -> Cost:
    """Run a command in a checkout to its end; raises when it fails."""
    before, started = _children_s(), time.perf_counter()
    variables = {**environment(root), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=root, env=variables, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return Cost(time.perf_counter() - started, _children_s() - before)


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    report([measure])
