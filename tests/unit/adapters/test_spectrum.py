"""Rank and size of an update, told apart from rounding."""

import pytest
import torch

from watchline.adapters.spectrum import measure_update, rounding_noise


def weight_and_update(rank: int, size: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 48, generator=generator) / 8
    left, right = (torch.linalg.qr(torch.randn(n, rank, generator=generator)).Q for n in (64, 48))
    return weight, size * left @ right.T


@pytest.mark.parametrize("rank", [1, 5, 48])
def test_the_numerical_rank_is_that_of_an_update_well_above_rounding(rank: int) -> None:
    weight, step = weight_and_update(rank, 1e-4)
    moved = weight.clone()
    for size in torch.linspace(0.5, 1.5, 50):  # equal steps would round equally, and their errors add up
        moved += size * step
    update = measure_update("w", weight, moved, 1, num_steps=50)
    assert update.numerical_rank == rank
    assert update.norm == pytest.approx(50e-4 * rank**0.5, rel=1e-3)
    assert update.relative_norm == pytest.approx(update.norm / float(weight.norm()), rel=1e-6)


def test_rounding_alone_has_rank_zero() -> None:
    weight, step = weight_and_update(8, 1e-3)
    moved = weight.clone()
    for _ in range(40):
        moved = (moved + step) - step
    assert float((moved - weight).norm()) > 0
    update = measure_update("w", weight, moved, 1, num_steps=80)
    assert (update.numerical_rank, update.energy_rank) == (0, 0)
    assert update.singular_values[0] < rounding_noise(weight, 80)


def test_the_energy_rank_counts_what_holds_99_percent() -> None:
    weight = torch.zeros(6, 4, dtype=torch.float64)
    moved = torch.zeros(6, 4, dtype=torch.float64)
    moved[range(4), range(4)] = torch.tensor([10.0, 5.0, 1.0, 0.5], dtype=torch.float64)
    update = measure_update("w", weight, moved, 1, num_steps=1)
    assert (update.numerical_rank, update.energy_rank) == (4, 2)
    assert update.singular_values == pytest.approx((10.0, 5.0, 1.0, 0.5))


def test_an_unmoved_weight_has_no_update() -> None:
    weight, _ = weight_and_update(1, 1.0)
    update = measure_update("w", weight, weight.clone(), 1, num_steps=0)
    assert (update.norm, update.numerical_rank, update.energy_rank) == (0.0, 0, 0)
