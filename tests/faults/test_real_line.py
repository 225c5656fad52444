"""Every stage of the real line killed once at a random moment, a rank of torchrun too; the bytes are as undisturbed.

The moment is a share of the CPU time that the stage took undisturbed, so that a busy machine does not move it.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from pipelines.dag import stages_in_order
from pipelines.params import compose_params
from tests.helpers.kills import (
    api_url,
    assert_nothing_left,
    cpu_seconds,
    half_files,
    recorded,
    seeded,
    stage_processes,
    start_flow,
)
from tests.helpers.line_checkout import SMALL, WEEK, checkout

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3000)]
TINY = [
    *WEEK,
    *(f"{key}={value}" for key, value in SMALL.items()),
    "ingest.exposures=1500",
    "features.all_time=false",
    "train.lightgbm.num_rounds=5",
    "abtest.requests=60",
    "abtest.false_positive_runs=20",
    "abtest.expectation_runs=2",
    "abtest.sweep_runs=1",
    "drift.max_rows=300",
]


def take(root: Path, stage: str) -> float:
    """Run a stage by plain DVC; returns the CPU seconds of its processes."""
    process = subprocess.Popen(["dvc", "repro", "-q", stage], cwd=root)
    seen = 0.0
    while process.poll() is None:
        seen = max(seen, cpu_seconds(stage_processes(root, stage)))
        time.sleep(0.1)
    assert process.returncode == 0
    return seen


def victim(root: Path, stage: str) -> psutil.Process | None:
    """The stage's own process; of finetune a rank, which torchrun started."""
    found = stage_processes(root, stage)
    if stage == "finetune":
        found = [each for each in found if "torchrun" not in " ".join(each.cmdline()[:3])]
    return found[-1 if stage == "finetune" else 0] if found else None


def kill_at(root: Path, stage: str, cpu_s: float, flow: subprocess.Popen) -> bool:
    """Kill it when it has used so much; whether it lived that long."""
    started = False
    while flow.poll() is None:
        found = stage_processes(root, stage)
        if found and cpu_seconds(found) >= cpu_s and (process := victim(root, stage)) is not None:
            process.kill()
            return True
        if started and not found:
            return False
        started = started or bool(found)
        time.sleep(0.02)
    return False


def test_every_stage_killed_once_and_the_flow_in_between(programs, prefect_api, tmp_path):
    random, log = seeded(), tmp_path / "flow.log"
    plain = checkout(tmp_path / "plain")
    compose_params(plain, TINY)
    seconds = {stage: take(plain, stage) for stage in stages_in_order(plain)}
    root = checkout(tmp_path / "project")
    hit = []
    flow = start_flow(root, "run", *TINY, log=log, api=api_url())
    for stage, cpu_s in seconds.items():
        moment = random.uniform(0.05, 0.9)
        if kill_at(root, stage, moment * cpu_s, flow):
            hit.append(stage)
        print(f"{stage}: {cpu_s:.1f} s of CPU, killed at {moment:.0%}: {stage in hit}", flush=True)
        if stage == "train@gr":  # once the flow itself
            flow.kill()
            flow.wait()
            assert_nothing_left(root)
            flow = start_flow(root, "run", *TINY, log=log, api=api_url())
    assert flow.wait(1500) == 0, log.read_text()[-3000:]
    assert len(hit) >= len(seconds) - 1  # the shortest may end before its moment
    (name,) = recorded(root)
    assert recorded(root)[name] == (plain / "dvc.lock").read_text()
    assert_nothing_left(root)
    assert not list(half_files(root / ".dvc/cache"))
    told = (root / f"runs/logs/{name}.log").read_text()
    assert "ended without giving the workspace back" in told and told.count("Retry 1/3") >= len(hit) - 2
    for path in ("models", "data", "reports"):
        files = [each.relative_to(plain) for each in (plain / path).rglob("*") if each.is_file()]
        assert all(
            (plain / each).read_bytes() == (root / each).read_bytes() for each in files if "run" not in each.parts
        )
    shutil.rmtree(tmp_path / "plain")
    assert os.environ.get("OMP_NUM_THREADS") in (None, "1")
