"""Runs one function in a process of its own and says how long it took and how much memory the process held at most.

    python -m benchmarks.child MODULE FUNCTION [ARGUMENT ...]        # prints one JSON object

Arguments are JSON. The time is that of the function alone; imports of MODULE come before.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Run:
    """What a function returned (JSON-able) and cost: wall and CPU seconds, and the process's highest resident GB."""

    result: Any
    wall_s: float
    cpu_s: float
    peak_gb: float


def run(function: str, *arguments: Any, directory: Path | None = None) -> Run:
    """Run `module:name` of the benchmarks in a process of its own, in `directory`; raises when it fails."""
    module, name = function.split(":")
    command = [sys.executable, "-m", "benchmarks.child", module, name, *map(json.dumps, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    done = subprocess.run(command, env=environment, cwd=directory, check=True, stdout=subprocess.PIPE, text=True)
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """The child's side."""
    module, name, *arguments = sys.argv[1:]
    function = getattr(importlib.import_module(module), name)
    start, start_cpu = time.perf_counter(), _cpu_s()
    result = function(*map(json.loads, arguments))
    wall_s, cpu_s = time.perf_counter() - start, _cpu_s() - start_cpu
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"result": result, "wall_s": wall_s, "cpu_s": cpu_s, "peak_gb": peak_gb}))


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
