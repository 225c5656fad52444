"""The training loop: schedule, early stopping, best weights, and resume to the same bytes."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.helpers.line_network import LineNetwork, encoded_line
from watchline.models.base import FitContext
from watchline.training.batches import predict_table
from watchline.training.distributed import Processes
from watchline.training.loop import LoopConfig, fit_network, hosted_shards, learning_rate
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
    assert result.best < 0.6  # the best constant: 3
    assert torch.allclose(network.linear.weight, torch.tensor([[1.0, 2.0, 3.0]]), atol=0.7)


def test_the_weights_left_are_those_of_the_best_validation():
    network, result, _ = run(config=CONFIG.model_copy(update={"lr": 2.0}))
    best = min(result.curves, key=lambda row: row["valid_mae_s"])
    predicted = predict_table(network, VALID, ["median"], 64, torch.device("cpu"))["median"]
    assert result.best_step == best["step"]
    assert np.abs(predicted - VALID.label_N).mean() == pytest.approx(best["valid_mae_s"], rel=1e-12)


@pytest.mark.parametrize("stop_on", ["valid_mae_s", "valid_loss"])
def test_the_step_kept_is_the_one_with_the_lowest_value_of_what_training_stops_on(stop_on):
    _, result, _ = run(config=CONFIG.model_copy(update={"lr": 2.0, "stop_on": stop_on}))
    lowest = min(result.curves, key=lambda row: row[stop_on])
    assert (result.best_step, result.best) == (lowest["step"], lowest[stop_on])


def test_training_stops_when_patience_ends():
    _, result, _ = run(config=CONFIG.model_copy(update={"epochs": 50, "patience": 3, "final_lr_share": 1.0}))
    assert result.stopped
    after = [row for row in result.curves if row["step"] > result.best_step]
    assert len(after) == 3


@pytest.mark.parametrize("attempt", ["first checkpoint", "random", "random again"])
def test_a_run_killed_at_any_step_and_repeated_equals_one_never_killed(tmp_path, attempt):
    stop_at = 6 if attempt == "first checkpoint" else random.randrange(7, 44)
    print(f"killed at step {stop_at}")  # shown where the test fails
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
    assert set(run()[1].curves[0]) == {"step", "epoch", "train_loss", "valid_loss", "valid_mae_s", "valid_xauc"}


def test_shards_that_do_not_divide_over_the_processes_are_an_error():
    assert [list(hosted_shards(4, Processes(rank, 2, torch.device("cpu")))) for rank in (0, 1)] == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match="num_shards=3 does not divide over 2 processes"):
        hosted_shards(3, Processes(0, 2, torch.device("cpu")))


def test_a_batch_of_fewer_rows_than_shards_is_trained_on():
    _, result, _ = run(config=CONFIG.model_copy(update={"batch_size": 699, "num_shards": 8, "epochs": 1}))
    assert result.step == 2


def test_bfloat16_passes_train_float32_weights():
    network, result, _ = run(config=CONFIG.model_copy(update={"precision": "bfloat16"}))
    plain, expected, _ = run()
    assert network.linear.weight.dtype == torch.float32
    assert not torch.equal(network.linear.weight, plain.linear.weight)
    assert result.best < expected.best + 0.1


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
