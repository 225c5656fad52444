"""LoRA, PiSSA, full fine-tuning and HD-PiSSA on two and four gloo processes against one process."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from tests.helpers import tuner_worker as worker
from tests.helpers.processes import Results, run
from tests.helpers.threads import one_thread


@pytest.fixture(scope="module", params=[2, 4])
def processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(worker.run_process, request.param, tmp_path_factory.mktemp(f"gloo-{request.param}"))


@pytest.fixture(scope="module")
def alone() -> dict[str, torch.Tensor]:
    with one_thread():
        return worker.train(Counter())[0]


@pytest.mark.parametrize("case", worker.CASES)
def test_start_trained_state_and_finished_module_are_bitwise_those_of_one_process(
    case: str, processes: Results, alone: dict[str, torch.Tensor]
) -> None:
    expected = {name: value for name, value in alone.items() if name.startswith(f"{case}/")}
    assert {name.split("/")[1] for name in expected} == {"start", "trained", "state", "weights", "finished"}
    for tensors, _ in processes:
        found = {name for name in tensors if name.startswith(f"{case}/")}
        assert found == expected.keys()
        assert [name for name, value in expected.items() if not torch.equal(tensors[name], value)] == []


def test_the_shards_differ_and_all_of_them_move_what_is_trained(alone: dict[str, torch.Tensor]) -> None:
    """Or the comparison above would be of things that stand still."""
    starts = [name for name in alone if "/start/" in name]
    assert len(starts) > 60
    assert [name for name in starts if torch.equal(alone[name], alone[name.replace("/start/", "/trained/")])] == []


def test_every_step_gathers_once_for_each_optimizer(processes: Results) -> None:
    for _, facts in processes:
        for case, (method, others, _) in worker.CASES.items():
            num_optimizers = 2 if (method, others) == ("hd_pissa", "data_parallel") else 1
            assert facts["steps"][case] == [{"all_gather_single": num_optimizers}] * 3, case


def test_shards_that_do_not_divide_raise_on_every_rank(processes: Results) -> None:
    for _, facts in processes:
        assert facts["uneven"].keys() == {"hd_pissa", "lora", "pissa", "full"}
        for message in facts["uneven"].values():
            assert f"num_slices=3 does not divide over {len(processes)} processes" in message
