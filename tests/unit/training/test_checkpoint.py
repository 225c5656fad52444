"""Checkpoints: whole or absent, exact, one at a time."""

from __future__ import annotations

import pytest
import torch

from watchline.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    of_prefix,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
    with_prefix,
)


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    tensors = {"a": torch.arange(3), "b": torch.tensor(2.5, dtype=torch.float64)}
    save_checkpoint(tmp_path, Checkpoint(7, tensors, {"curves": [{"x": 0.1}]}))
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert (loaded.step, loaded.state) == (7, {"curves": [{"x": 0.1}]})
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in tensors.items())


def test_only_the_newest_checkpoint_stays(tmp_path):
    for step in (9, 10, 100):
        save_checkpoint(tmp_path, Checkpoint(step, {}, {}))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000100"]


def test_a_checkpoint_cut_short_while_writing_is_ignored(tmp_path):
    save_checkpoint(tmp_path, Checkpoint(5, {"a": torch.ones(2)}, {}))
    (tmp_path / "writing-00000006").mkdir()
    (tmp_path / "writing-00000006/tensors.safetensors").write_bytes(b"half")
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None and loaded.step == 5


def test_no_checkpoint_is_none(tmp_path):
    assert load_checkpoint(tmp_path / "absent") is None


def test_an_unreadable_checkpoint_is_named(tmp_path):
    folder = save_checkpoint(tmp_path, Checkpoint(5, {"a": torch.ones(2)}, {}))
    (folder / "tensors.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="step-00000005"):
        load_checkpoint(tmp_path)


def test_tensors_that_share_memory_are_saved(tmp_path):
    shared = torch.ones(3)
    save_checkpoint(tmp_path, Checkpoint(1, {"a": shared, "b": shared}, {}))
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None and torch.equal(loaded.tensors["b"], shared)


def test_a_restored_optimizer_takes_the_same_step():
    def pair():
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 2)
        return layer, torch.optim.AdamW(layer.parameters(), lr=0.1)

    def step(layer, optimizer):
        optimizer.zero_grad()
        layer(torch.ones(4, 3)).square().sum().backward()
        optimizer.step()

    layer, optimizer = pair()
    step(layer, optimizer)
    other, restored = pair()
    other.load_state_dict(layer.state_dict())
    restore_optimizer(restored, optimizer_tensors(optimizer))
    step(layer, optimizer)
    step(other, restored)
    assert torch.equal(layer.weight, other.weight)


def test_prefixes_come_off_again():
    tensors = {"a.weight": torch.ones(1)}
    assert (
        of_prefix("model", {**with_prefix("model", tensors), **with_prefix("best", tensors)}).keys() == tensors.keys()
    )
