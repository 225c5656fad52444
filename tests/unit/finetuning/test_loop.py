"""The fine-tuning loop on one process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.small_network import SmallNetwork, draw_table
from tests.helpers.threads import one_thread
from watchline.config import ConfigError, parse
from watchline.finetuning.config import FinetuneConfig
from watchline.finetuning.loop import Finetuned, Finetuner, slice_positions
from watchline.training.distributed import Processes

ALONE = Processes(0, 1, torch.device("cpu"))
VALUES = {
    "method": "hd_pissa",
    "num_processes": 1,
    "num_slices": 4,
    "rank": 2,
    "targets": ["layers.*"],
    "seed": 1,
    "epochs": 2,
    "batch_size": 16,
    "lr": 2e-2,
    "warmup_share": 0.1,
    "holdout_share": 0.2,
    "validations_per_epoch": 2,
    "patience": 3,
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


class KilledError(Exception):
    pass


def config(**others: Any) -> FinetuneConfig:
    return parse(FinetuneConfig, {**VALUES, **others}, "finetune")


def finetuner(network: SmallNetwork, run_dir: Path | None = None, lines: Any = None, **others: Any) -> Finetuner:
    train, held_out = draw_table(600, seed=1, shift=0.5), draw_table(200, seed=2, shift=0.5)
    return Finetuner(network, train, held_out, config(**others), ALONE, run_dir, lines or (lambda line: None))


def finetune(network: SmallNetwork, **others: Any) -> Finetuned:
    return finetuner(network, **others).run()


def state(network: SmallNetwork) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def differing(first: SmallNetwork, second: SmallNetwork) -> list[str]:
    other = second.state_dict()
    return [name for name, tensor in first.state_dict().items() if not torch.equal(tensor, other[name])]


def test_every_row_comes_once_an_epoch_in_batches_of_about_equal_size() -> None:
    parts = [slice_positions(103, j, 4, step, 5) for step in range(5) for j in range(4)]
    assert sorted(np.concatenate(parts)) == list(range(103))
    assert {len(part) for part in parts} == {5, 6}


def test_the_held_out_loss_falls_and_only_targets_move() -> None:
    network = SmallNetwork()
    before = state(network)
    result = finetune(network)
    losses = [row["held_out_loss"] for row in result.curves]
    assert min(losses) < 0.9 * losses[0]
    moved = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"layers.0.weight", "layers.3.weight"}
    assert [update.name for update in result.updates] == ["layers.0", "layers.3"]


def test_the_network_ends_with_the_weights_of_the_lowest_held_out_loss() -> None:
    network = SmallNetwork()
    result = finetune(network, lr=0.3, decay="constant", patience=2)
    best = min(result.curves, key=lambda row: row["held_out_loss"])
    assert result.kept_step == best["step"]
    again = finetuner(network, lr=0.3)
    again._validate()
    assert again.state.curves[0]["held_out_loss"] == pytest.approx(best["held_out_loss"], rel=1e-12)


def test_when_no_step_helps_the_network_is_as_it_came() -> None:
    network = SmallNetwork()
    before = state(network)
    result = finetune(network, lr=3.0, decay="constant", warmup_share=0.0, patience=1)
    assert result.kept_step == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert len(result.curves) == 2
    assert result.updates[0].norm > 0


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not() -> None:
    first, second, third = SmallNetwork(), SmallNetwork(), SmallNetwork()
    finetune(first)
    finetune(second)
    finetune(third, seed=2)
    assert differing(first, second) == []
    assert differing(first, third) == ["layers.0.weight", "layers.3.weight"]


def test_micro_batches_change_nothing_but_memory() -> None:
    """Without dropout: its random numbers are drawn per part."""
    whole, parts = SmallNetwork(), SmallNetwork()
    for network, micro_batches in ((whole, 1), (parts, 4)):
        network.layers[2].p = 0.0
        network.loss = _without_noise(network)  # type: ignore[method-assign]
        finetune(network, micro_batches=micro_batches, epochs=1)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)


def _without_noise(network: SmallNetwork) -> Any:
    def loss(categorical: torch.Tensor, numeric: torch.Tensor, label: torch.Tensor, **_: Any) -> torch.Tensor:
        return (network.value(categorical, numeric) - label.float().log1p()).square().mean()

    return loss


def test_a_run_killed_between_checkpoints_and_repeated_gives_the_same_bytes(tmp_path: Path) -> None:
    straight = SmallNetwork()
    expected = finetune(straight)

    interrupted = SmallNetwork()
    runner = finetuner(interrupted, run_dir=tmp_path)
    plain_step = runner._step

    def killed_at_eleven() -> None:
        if runner.state.step == 11:
            raise KilledError
        plain_step()

    runner._step = killed_at_eleven  # type: ignore[method-assign]
    with pytest.raises(KilledError):
        runner.run()

    lines: list[str] = []
    repeated = SmallNetwork()
    found = finetuner(repeated, run_dir=tmp_path, lines=lines.append).run()
    assert lines[0].startswith("continuing from step 9 of 18")
    assert differing(repeated, straight) == []
    assert (found.curves, found.kept_step, found.updates) == (expected.curves, expected.kept_step, expected.updates)
    assert all(np.array_equal(found.after[name], expected.after[name]) for name in expected.after)


def test_a_loss_that_is_not_finite_stops_with_slice_step_and_what_to_do() -> None:
    network = SmallNetwork()
    train, held_out = draw_table(600), draw_table(200)
    train.numeric_ND[:] = np.nan
    with pytest.raises(ValueError, match=r"the loss of slice 0 is nan at step 0; lower finetune.lr \(now 0.02\)"):
        Finetuner(network, train, held_out, config(), ALONE, None, print).run()


def test_too_few_rows_raise_with_the_counts() -> None:
    with pytest.raises(ValueError, match=r"3 rows to train on and 5 held out are too few for 4 slices"):
        Finetuner(SmallNetwork(), draw_table(3), draw_table(5), config(), ALONE, None, print)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_processes": 3}, "num_processes=3 must divide num_slices=4"),
        ({"rank": 0}, "finetune.rank: Input should be greater than or equal to 1, got 0"),
        ({"reduce": "sum"}, "finetune.reduce: Input should be 'local' or 'mean'"),
        ({"betas": [0.9, 1.0]}, "finetune.betas.1: Input should be less than 1"),
        ({"ranks": 4}, "finetune.ranks: unknown parameter"),
    ],
)
def test_wrong_parameters_name_key_rule_and_value(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**change)
