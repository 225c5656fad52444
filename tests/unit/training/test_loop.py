"""The training loop: schedule, early stopping, best weights, and resume to the same bytes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.helpers.line_network import LineNetwork, encoded_line
from watchline.models.base import FitContext
from watchline.training.batches import epoch_order, predict_table
from watchline.training.loop import LoopConfig, fit_network, learning_rate
from watchline.training.seeding import seed_everything

TRAIN, VALID = encoded_line(700, 1), encoded_line(200, 2)
CONFIG = LoopConfig(epochs=4, batch_size=64, lr=0.3, validations_per_epoch=2, patience=100)


def run(run_dir=None, stop_at=None, config=CONFIG, seed=3):
    seed_everything(0, 1)
    network = LineNetwork(3, stop_at)
    lines = []
    result = fit_network(network, TRAIN, VALID, config, FitContext(run_dir, lines.append), seed=seed)
    return network, result, lines


def test_training_finds_the_line():
    network, result, _ = run()
    assert result.best_mae_s < 0.5
    assert torch.allclose(network.linear.weight, torch.tensor([[1.0, 2.0, 3.0]]), atol=0.5)


def test_the_weights_left_are_those_of_the_best_validation():
    network, result, _ = run(config=CONFIG.model_copy(update={"lr": 2.0}))
    best = min(result.curves, key=lambda row: row["valid_mae_s"])
    predicted = predict_table(network, VALID, ["median"], 64, torch.device("cpu"))["median"]
    assert result.best_step == best["step"]
    assert np.abs(predicted - VALID.label_N).mean() == pytest.approx(best["valid_mae_s"], rel=1e-12)


def test_training_stops_when_patience_ends():
    _, result, _ = run(config=CONFIG.model_copy(update={"epochs": 50, "patience": 3, "final_lr_share": 1.0}))
    assert result.stopped
    after = [row for row in result.curves if row["step"] > result.best_step]
    assert len(after) == 3


@pytest.mark.parametrize("stop_at", [6, 17, 43])
def test_a_killed_and_repeated_run_equals_one_never_killed(tmp_path, stop_at):
    whole, expected, _ = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", stop_at)
    network, result, lines = run(tmp_path / "killed")
    assert lines[0].startswith("continuing from step")
    assert result.curves == expected.curves
    assert torch.equal(network.linear.weight, whole.linear.weight)
    folders = [next((tmp_path / name).iterdir()) for name in ("whole", "killed")]
    contents = [(folder / "tensors.safetensors").read_bytes() for folder in folders]
    assert contents[0] == contents[1]


def test_a_finished_run_repeated_trains_no_further(tmp_path):
    _, expected, _ = run(tmp_path)
    _, result, lines = run(tmp_path, stop_at=0)
    assert result.curves == expected.curves
    assert len(lines) == 1


def test_the_same_seed_gives_the_same_curves_and_another_one_does_not():
    assert run()[1].curves == run()[1].curves
    assert run()[1].curves != run(seed=4)[1].curves


def test_curves_hold_no_clock():
    assert set(run()[1].curves[0]) == {"step", "epoch", "train_loss", "valid_mae_s", "valid_xauc"}


def test_an_epoch_visits_every_row_once_in_an_order_of_its_own():
    first, second = epoch_order(100, 1, 0), epoch_order(100, 1, 1)
    assert sorted(first) == sorted(second) == list(range(100))
    assert not np.array_equal(first, second)


def test_the_rate_starts_above_zero_rises_and_falls_to_its_final_share():
    config = LoopConfig(lr=1.0, warmup_share=0.1, final_lr_share=0.2)
    rates = [learning_rate(step, 100, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(0.2, abs=1e-3)


def test_a_diverged_loss_is_an_error_that_names_the_rate():
    with pytest.raises(ValueError, match="lr"):
        run(config=CONFIG.model_copy(update={"lr": float("inf")}))


def test_prediction_does_not_depend_on_the_batch_size():
    network = LineNetwork(3)
    small, large = (predict_table(network, VALID, ["median"], size, torch.device("cpu")) for size in (7, 1000))
    assert np.allclose(small["median"], large["median"], atol=1e-6)
