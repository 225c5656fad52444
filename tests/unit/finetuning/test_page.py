"""Metrics and page of the finetune stage from a run's results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from watchline.adapters.spectrum import measure_update
from watchline.finetuning.loop import Finetuned
from watchline.finetuning.page import finetune_metrics, finetune_page
from watchline.finetuning.rows import HeldOut
from watchline.metrics import mae

RNG = np.random.default_rng(0)
LABEL_S = RNG.exponential(20.0, 400)
HELD_OUT = HeldOut(LABEL_S, RNG.integers(0, 40, 400), 1600, "2024-03-11 20:00:00 UTC")


def result(kept_step: int, gain_s: float) -> Finetuned:
    before = {"median": LABEL_S + 5 + gain_s, "expected_rank": RNG.random(400)}
    after = {"median": LABEL_S + 5, "expected_rank": before["expected_rank"]}
    curves = [
        {"step": step, "epoch": step / 10, "held_out_loss": 2.0, "held_out_mae_s": 5.0, "held_out_xauc": 0.5}
        for step in (0, 5, 10)
    ]
    weight = torch.linspace(-1, 1, 48).reshape(8, 6)
    updates = [
        measure_update(name, weight, weight + 0.01 * i * weight.flip(0), 1, 10) for i, name in enumerate("abcdefgh")
    ]
    return Finetuned(curves, kept_step, 10, updates, before, after)


def test_metrics_hold_before_after_and_their_difference_with_its_interval() -> None:
    metrics = finetune_metrics("hd_pissa", result(10, gain_s=1.5), HELD_OUT, seed=1)
    assert metrics["before"]["mae_s"] == pytest.approx(mae(LABEL_S, LABEL_S + 6.5))
    assert metrics["after"]["mae_s"] == pytest.approx(5.0)
    difference = metrics["difference"]["mae_s"]
    assert difference["value"] == pytest.approx(-1.5)
    assert difference["low"] <= difference["value"] <= difference["high"]
    assert metrics["difference"]["xauc"]["value"] == 0
    assert metrics["rows"] == {"train": 1600, "held_out": 400}
    assert metrics["update"]["lowest_rank"] == 0


@pytest.mark.parametrize(
    ("kept_step", "gain_s", "words"),
    [
        (0, 0.0, "No step lowered the held-out loss"),
        (10, 1.5, "MAE fell by 1.500 s"),
        (10, -1.5, "MAE rose by 1.500 s"),
        (10, 0.0, "within its interval around zero"),
    ],
)
def test_the_page_says_what_came_of_it(kept_step: int, gain_s: float, words: str, tmp_path: Path) -> None:
    run = result(kept_step, gain_s)
    metrics = finetune_metrics("hd_pissa", run, HELD_OUT, seed=1)
    path = tmp_path / "finetune" / "index.html"
    finetune_page(metrics, run, HELD_OUT, {"method": "hd_pissa", "rank": 8, "num_slices": 4}).write(path)
    text = path.read_text()
    assert words in text
    assert ("not kept" in text) == (kept_step == 0)
    assert "2 x 4 slices x 8 = 64 at most" in text
    for heading in ("Curves", "Updates of the weights", "Singular spectrum", "Norm of the update"):
        assert heading in text


def test_of_few_users_the_difference_has_no_interval(tmp_path: Path) -> None:
    held_out = HeldOut(LABEL_S, np.arange(400) % 3, 1600, "2024-03-11 20:00:00 UTC")
    run = result(10, gain_s=1.5)
    metrics = finetune_metrics("lora", run, held_out, seed=1)
    assert metrics["difference"]["mae_s"] == {"value": pytest.approx(-1.5), "low": None, "high": None}
    path = tmp_path / "finetune" / "index.html"
    finetune_page(metrics, run, held_out, {"method": "lora", "rank": 8, "num_slices": 1}).write(path)
    assert "fewer than 20 users" in path.read_text()
