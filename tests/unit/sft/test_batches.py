"""Rows of a batch and the rows of a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.tiny_llm import make_model, make_tokenizer
from watchline.sft.batches import IGNORED, Schedule, make_batch, one_per_row, pack
from watchline.sft.loop import token_losses
from watchline.sft.tokens import TokenSequence

pytest.importorskip("transformers", reason="the models come from transformers")


def sequences(lengths: list[int], seed: int = 0) -> list[TokenSequence]:
    draw = np.random.default_rng(seed)
    return [TokenSequence(draw.integers(3, 200, size, dtype=np.int32), max(1, size // 3)) for size in lengths]


@pytest.fixture(scope="module")
def model() -> Any:
    tokenizer = make_tokenizer()
    return make_model(tokenizer, attn_implementation="sdpa").double()


def gradients(model: Any, rows: list[tuple[int, ...]], examples: list[TokenSequence]) -> tuple[float, torch.Tensor]:
    """Summed loss of the rows as one batch, and the gradient of every parameter, flat."""
    model.zero_grad()
    loss = token_losses(model, make_batch(rows, examples, pad_id=2))
    loss.backward()
    return float(loss.detach()), torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("packing", [True, False])
def test_a_batch_has_the_loss_and_the_gradients_of_its_examples_one_by_one(model: Any, packing: bool) -> None:
    examples = sequences([9, 14, 5, 21, 3, 2])
    rows = pack(examples, length=24) if packing else one_per_row(examples)
    assert max(map(len, rows)) > 1 if packing else len(rows) == 6
    loss, gradient = gradients(model, rows, examples)
    single = [gradients(model, [(number,)], examples) for number in range(len(examples))]
    assert loss == pytest.approx(sum(value for value, _ in single), rel=1e-6)
    total = torch.stack([part for _, part in single]).sum(dim=0)
    assert torch.linalg.vector_norm(gradient - total) < 1e-6 * torch.linalg.vector_norm(total)


def test_without_positions_that_begin_anew_packed_examples_would_see_each_other(model: Any) -> None:
    """The test above can fail: the same rows with positions that run on have another loss."""
    examples = sequences([9, 14])
    batch = make_batch([(0, 1)], examples, pad_id=2)
    running = type(batch)(batch.ids_BT, torch.arange(23).unsqueeze(0), batch.targets_BT)
    assert abs((token_losses(model, batch) - token_losses(model, running)).item()) > 1e-3


def test_targets_are_the_next_tokens_of_the_same_response_and_nothing_else() -> None:
    examples = [TokenSequence(np.array([5, 6, 7, 8], np.int32), 2), TokenSequence(np.array([9, 10, 11], np.int32), 1)]
    batch = make_batch([(0, 1), (1,)], examples, pad_id=2)
    assert batch.ids_BT.tolist() == [[5, 6, 7, 8, 9, 10, 11], [9, 10, 11, 2, 2, 2, 2]]
    assert batch.positions_BT.tolist() == [[0, 1, 2, 3, 0, 1, 2], [0, 1, 2, 3, 4, 5, 6]]
    none = IGNORED
    assert batch.targets_BT.tolist() == [[none, 7, 8, none, 10, 11, none], [10, 11, none, none, none, none, none]]


@pytest.mark.parametrize("seed", range(5))
def test_packing_keeps_every_example_whole_and_once_and_no_row_too_long(seed: int) -> None:
    examples = sequences(np.random.default_rng(seed).integers(1, 65, 300).tolist(), seed)
    rows = pack(examples, length=64)
    assert sorted(number for row in rows for number in row) == list(range(300))
    sizes = [sum(len(examples[number].ids) for number in row) for row in rows]
    assert max(sizes) <= 64
    assert len(rows) <= 1.05 * sum(sizes) / 64 + 1


@pytest.mark.parametrize(("num_rows", "num_slices", "rows_per_step"), [(64, 4, 8), (103, 4, 8), (9, 2, 100), (8, 8, 1)])
def test_in_an_epoch_slices_share_the_rows_evenly_and_none_comes_twice(
    num_rows: int, num_slices: int, rows_per_step: int
) -> None:
    schedule = Schedule(num_rows, num_slices, rows_per_step, seed=3)
    steps = range(schedule.steps_per_epoch)
    parts = [[schedule.rows(j, step) for j in range(num_slices)] for step in steps]
    assert all(len({len(part) for part in of_step}) == 1 for of_step in parts)
    assert all(len(part) == rows_per_step for of_step in parts[:-1] for part in of_step)
    assert 0 < len(parts[-1][0]) <= rows_per_step
    seen = np.concatenate([part for of_step in parts for part in of_step])
    assert len(np.unique(seen)) == len(seen) == num_rows - num_rows % num_slices


def test_epochs_differ_in_order_and_in_what_they_leave_out() -> None:
    schedule = Schedule(103, 4, 25, seed=3)
    assert schedule.steps_per_epoch == 1
    epochs = [np.concatenate([schedule.rows(j, epoch) for j in range(4)]) for epoch in range(2)]
    assert epochs[0].tolist() != epochs[1].tolist()
    assert set(range(103)) - set(epochs[0]) != set(range(103)) - set(epochs[1])


def test_fewer_rows_than_slices_are_refused() -> None:
    with pytest.raises(ValueError, match=r"3 sequences are too few for train\.tuner\.num_slices=4"):
        Schedule(3, 4, 8, seed=1)
