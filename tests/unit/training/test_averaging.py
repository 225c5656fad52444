"""The polynomial-decay average of weights, by its formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from watchline.training.averaging import Average


def averaged(weights: list[float], eta: float | None) -> float:
    """Value of a one-weight network within the block after it went through `weights`."""
    layer = nn.Linear(1, 1, bias=False)
    average = Average(layer.parameters(), eta)
    for step, weight in enumerate(weights, start=1):
        nn.init.constant_(layer.weight, weight)
        average.update(step)
    with average.in_place():
        value = layer.weight.item()
    assert layer.weight.item() == pytest.approx(weights[-1])
    return value


def test_eta_0_is_the_mean_of_all_steps():
    assert averaged([1.0, 5.0, 3.0, -2.0], 0.0) == pytest.approx(7 / 4)


@pytest.mark.parametrize("eta", [1.0, 3.0, 8.0])
def test_a_larger_eta_counts_later_steps_more(eta):
    """The weight of step i of T is proportional to (i)(i + 1) ... (i + eta - 1)."""
    values = np.random.default_rng(0).normal(size=40)
    shares = np.array([np.prod([i + k for k in range(int(eta))], dtype=float) for i in range(1, 41)])
    assert averaged(values.tolist(), eta) == pytest.approx(float(values @ shares / shares.sum()), abs=1e-5)


def test_no_eta_is_the_weights_themselves():
    assert averaged([1.0, 5.0, 3.0], None) == 3.0


def test_a_restored_average_goes_on_as_the_first_did():
    layer = nn.Linear(2, 2)
    first, second = Average(layer.parameters(), 8.0), Average(layer.parameters(), 8.0)
    for step in (1, 2, 3):
        nn.init.normal_(layer.weight)
        first.update(step)
    second.restore({name: tensor.clone() for name, tensor in first.tensors().items()})
    for average in (first, second):
        average.update(4)
    assert all(torch.equal(a, b) for a, b in zip(first.average, second.average))
