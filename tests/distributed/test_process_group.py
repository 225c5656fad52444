"""Process groups of two gloo processes under torchrun, and of none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from watchline.training.distributed import all_gather, process_group, raise_together

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ranks() -> list[dict]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*command, str(ROOT / "tests/distributed/worker_process_group.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return sorted(lines, key=lambda line: line["rank"])


def test_every_rank_gathers_in_rank_order_and_holds_the_sum(ranks):
    assert [line["gathered"] for line in ranks] == [[0.0, 1.0], [0.0, 1.0]]
    assert [line["sum"] for line in ranks] == [4.0, 4.0]


def test_a_failure_on_one_rank_is_raised_on_all(ranks):
    assert ranks[0]["message"].startswith("OtherProcessError: stopped because rank 1 failed")
    assert ranks[1]["message"] == "ValueError: broken"


def test_without_torchrun_a_process_is_a_group_of_one(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with process_group("cpu") as processes:
        assert (processes.rank, processes.world_size, processes.is_first) == (0, 1, True)
        assert all_gather(torch.ones(2)).tolist() == [[1.0, 1.0]]
        raise_together(None)
        with pytest.raises(ValueError, match="broken"):
            raise_together(ValueError("broken"))
