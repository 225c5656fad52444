"""HD-PiSSA on two and four gloo processes against one process."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers import hd_pissa_worker as worker

Results = list[tuple[dict[str, torch.Tensor], dict[str, Any]]]


@pytest.fixture(scope="module", params=[2, 4])
def processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder: Path = tmp_path_factory.mktemp(f"gloo-{request.param}")
    torch.multiprocessing.spawn(worker.run_process, args=(request.param, str(folder)), nprocs=request.param)
    return worker.results(folder, request.param)


@pytest.fixture(scope="module")
def alone() -> dict[str, torch.Tensor]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return worker.train(Counter())[0]
    finally:
        torch.set_num_threads(threads)


def test_weights_bases_and_moments_are_bitwise_those_of_one_process(
    processes: Results, alone: dict[str, torch.Tensor]
) -> None:
    for tensors, _ in processes:
        assert tensors.keys() == alone.keys()
        assert [name for name, value in alone.items() if not torch.equal(tensors[name], value)] == []


def test_every_step_makes_exactly_one_collective(processes: Results) -> None:
    for _, facts in processes:
        assert facts["steps"] == [{"all_gather_single": 1}] * 10


def test_bases_are_broadcast_once_from_each_process_that_has_some(processes: Results) -> None:
    assert [facts["setup"] for _, facts in processes] == [{"broadcast": min(3, len(processes))}] * len(processes)


def test_over_rank_raises_on_every_rank(processes: Results) -> None:
    for _, facts in processes:
        assert "4 * 4 = 16 exceeds the smaller side of 0 (20 x 12)" in facts["over_rank"]


def test_slices_that_do_not_divide_raise_on_every_rank(processes: Results) -> None:
    for _, facts in processes:
        assert f"num_slices=3 does not divide over {len(processes)} processes" in facts["uneven"]
