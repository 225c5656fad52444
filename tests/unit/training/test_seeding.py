"""Seeds of different purposes."""

from __future__ import annotations

import torch

from watchline.training.seeding import derived_seed, seed_everything


def test_derived_seeds_differ_by_part_and_repeat():
    seeds = [derived_seed(1, epoch) for epoch in range(100)]
    assert len(set(seeds)) == 100
    assert seeds == [derived_seed(1, epoch) for epoch in range(100)]
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeding_repeats_torch():
    draws = []
    for _ in range(2):
        seed_everything(11, 1)
        draws.append(torch.rand(4))
    assert torch.equal(*draws)
