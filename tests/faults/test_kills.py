"""Fifty random kills in a row of the flow, DVC, stages and ranks: results as of runs that nothing disturbs."""

import contextlib
import time
from collections import Counter
from pathlib import Path
from random import Random

import psutil
import pytest

from tests.helpers.kills import (
    api_url,
    assert_nothing_left,
    half_files,
    in_project,
    lives,
    recorded,
    seeded,
    start_flow,
    undisturbed,
)

pytestmark = [pytest.mark.faults, pytest.mark.timeout(2400)]
KILLS = 50
KINDS = ["flow", "dvc", "stage", "rank", "watcher"]


def victims(root: Path, flow: psutil.Process) -> dict[str, list[psutil.Process]]:
    """What can be killed now, by kind."""
    found: dict[str, list[psutil.Process]] = {"flow": [flow] if lives(flow) else []}
    for process in in_project(root):
        with contextlib.suppress(psutil.Error, OSError):
            command = process.cmdline()
            if "rank" in command:
                kind = "rank"
            elif "DVC_STAGE" in process.environ():
                kind = "stage"
            elif "repro" in command:
                kind = "dvc"
            elif "pipelines.watcher" in command:
                kind = "watcher"
            else:
                continue
            found.setdefault(kind, []).append(process)
    return {kind: processes for kind, processes in found.items() if processes}


def kill_one(random: Random, root: Path, flow: psutil.Process, killed: Counter[str]) -> None:
    """Kill a process of a random kind at a random moment after it is there; nothing where the flow ends before."""
    kind = random.choice(KINDS)
    while lives(flow) and kind not in victims(root, flow):
        time.sleep(0.1)
    time.sleep(random.uniform(0, 10 if kind == "flow" else 1.5))
    if lives(flow) and (found := victims(root, flow).get(kind)):
        random.choice(found).kill()
        killed[kind] += 1


def test_fifty_random_kills_in_a_row_end_with_the_bytes_of_undisturbed_runs(project, other, prefect_api, tmp_path):
    random, killed, ends, scale = seeded(), Counter[str](), Counter[int](), 1
    while not (ends[0] == scale and killed.total() >= KILLS):
        scale = ends[0] + 1
        words = [f"train.scale={scale}"]
        flow = start_flow(project, "run", *words, log=tmp_path / "flow.log", api=api_url(), PAUSE="0.05")
        try:
            while flow.poll() is None and killed.total() < KILLS:
                kill_one(random, project, psutil.Process(flow.pid), killed)
            ends[flow.wait(600)] += 1
        finally:
            flow.kill()
        print(f"killed {dict(killed)}, exit statuses {dict(ends)}", flush=True)
    assert set(ends) <= {0, 1, -9}  # 1: more kills of a stage than it has retries
    assert_nothing_left(project)
    locks = sorted(undisturbed(other, f"train.scale={each}") for each in range(1, scale + 1))
    assert sorted(recorded(project).values()) == locks
    assert not list(half_files(project / ".dvc/cache"))
