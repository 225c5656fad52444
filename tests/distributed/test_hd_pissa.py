"""HD-PiSSA on two and four gloo processes against one process."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from tests.helpers import hd_pissa_worker as worker
from tests.helpers import plain_hd_pissa as plain
from tests.helpers.processes import Results, run
from tests.helpers.threads import one_thread


@pytest.fixture(scope="module", params=[2, 4])
def processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(worker.run_process, request.param, tmp_path_factory.mktemp(f"gloo-{request.param}"))


@pytest.fixture(scope="module")
def alone() -> dict[str, torch.Tensor]:
    with one_thread():
        return worker.train(Counter())[0]


def of(case: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in tensors.items() if name.startswith(f"{case}/")}


@pytest.mark.parametrize("case", worker.LOCAL)
def test_weights_bases_and_moments_are_bitwise_those_of_one_process(
    case: str, processes: Results, alone: dict[str, torch.Tensor]
) -> None:
    expected = of(case, alone)
    assert len(expected) >= 8
    for tensors, _ in processes:
        found = of(case, tensors)
        assert found.keys() == expected.keys()
        assert [name for name, value in expected.items() if not torch.equal(found[name], value)] == []


@pytest.mark.parametrize("case", worker.CASES)
def test_all_processes_end_with_the_same_bytes(case: str, processes: Results) -> None:
    first = of(case, processes[0][0])
    for tensors, _ in processes[1:]:
        assert [name for name, value in first.items() if not torch.equal(tensors[name], value)] == []


def test_averaged_gradients_give_the_weights_of_one_process_but_for_the_order_of_sums(
    processes: Results, alone: dict[str, torch.Tensor]
) -> None:
    start = plain.make_network(dtype=torch.float32).state_dict()
    for name in ("0.weight", "2.weight", "4.weight"):
        expected = alone[f"mean/{name}"] - start[name]
        found = processes[0][0][f"mean/{name}"] - start[name]
        assert float((found - expected).norm() / expected.norm()) < 1e-5
        # And it is not the update of the paper's local gradients.
        assert float((alone[f"native/{name}"] - start[name] - expected).norm() / expected.norm()) > 0.1


def test_every_step_makes_one_collective_and_two_with_averaged_gradients(processes: Results) -> None:
    for _, facts in processes:
        assert facts["steps"] == {
            case: [{"all_gather_single": 1} | ({"reduce_scatter_single": 1} if case in worker.MEAN else {})] * 5
            for case in worker.CASES
        }


def test_bases_are_broadcast_once_from_each_process_that_has_some(processes: Results) -> None:
    for _, facts in processes:
        assert facts["setup"] == {case: {"broadcast": min(3, len(processes))} for case in worker.CASES}


def test_over_rank_raises_on_every_rank(processes: Results) -> None:
    for _, facts in processes:
        assert "4 * 4 = 16 exceeds the smaller side of 0 (20 x 12)" in facts["over_rank"]


def test_slices_that_do_not_divide_raise_on_every_rank(processes: Results) -> None:
    for _, facts in processes:
        assert f"num_slices=3 does not divide over {len(processes)} processes" in facts["uneven"]
