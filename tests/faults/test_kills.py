"""Fifty random kills in a row of the flow, DVC, stages and ranks: results as of runs that nothing disturbs."""

import contextlib
import time
from pathlib import Path

import psutil
import pytest

from pipelines.workspace import holder
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

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
KILLS = 50


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


def at_work(root: Path, pid: int) -> bool:
    """Whether the flow is past its start: it holds the workspace."""
    now = holder(root)
    return now is not None and now.pid == pid


def test_fifty_random_kills_in_a_row_end_with_the_bytes_of_undisturbed_runs(project, other, prefect_api, tmp_path):
    random, log = seeded(), tmp_path / "flow.log"
    killed: dict[str, int] = {}
    scale, failed = 1, 0
    flow = None
    while sum(killed.values()) < KILLS or flow is not None:
        if flow is None:
            flow = start_flow(project, "run", f"train.scale={scale}", log=log, api=api_url())
            started = psutil.Process(flow.pid)
        enough = sum(killed.values()) >= KILLS
        if random.random() < 0.9:  # the others are killed while they start
            while flow.poll() is None and not at_work(project, flow.pid):
                time.sleep(0.05)
        deadline = time.monotonic() + (300 if enough else random.uniform(0, 6))
        while flow.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if flow.poll() is None:
            assert not enough, "the last run did not end"
            kinds = victims(project, started)
            kind = random.choice(sorted(kinds))
            with contextlib.suppress(psutil.NoSuchProcess):
                random.choice(kinds[kind]).kill()
                killed[kind] = killed.get(kind, 0) + 1
            if kind == "flow":
                flow.wait()
        if flow.poll() is not None:
            if flow.returncode == 0:
                scale += 1
            failed += flow.returncode == 1
            assert flow.returncode in (0, 1, -9)
            flow = (
                None
                if flow.returncode == 0 or not enough
                else start_flow(project, "run", f"train.scale={scale}", log=log, api=api_url())
            )
    print(f"killed {killed}; {scale - 1} runs ended, {failed} times the retries were used up")
    assert_nothing_left(project)
    locks = sorted(recorded(project).values())
    assert len(locks) == scale - 1 and locks == sorted(
        undisturbed(other, f"train.scale={each}") for each in range(1, scale)
    )
    assert not list(half_files(project / ".dvc/cache"))
