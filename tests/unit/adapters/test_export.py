"""HD-PiSSA's update as a LoRA that peft loads."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn

from tests.helpers import plain_hd_pissa as plain
from tests.helpers.tuning import config, feed
from watchline.adapters.export import lora_factors
from watchline.adapters.hd_pissa import HDPiSSAConfig, inject
from watchline.adapters.optimizer import HDPiSSAOptimizer


class Nested(nn.Module):
    """Names of several parts, as real models have them."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.body = plain.make_network(dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def train(module: nn.Module, settings: HDPiSSAConfig, lr: float, num_steps: int = 10) -> HDPiSSAOptimizer:
    optimizer = HDPiSSAOptimizer(inject(module, settings), lr)
    for shards in plain.make_batches(num_steps, settings.num_slices, next(module.parameters()).dtype):
        feed(module, optimizer.adapters, shards)
        optimizer.step()
    return optimizer


def linear_weights(module: nn.Module) -> dict[str, Tensor]:
    named = module.named_modules()
    return {name: child.weight.detach().clone() for name, child in named if isinstance(child, nn.Linear)}


def relative_loss(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Frobenius norm of all differences together over that of all expected ones."""
    lost = sum(float((found[name] - delta).square().sum()) for name, delta in expected.items())
    return (lost / sum(float(delta.square().sum()) for delta in expected.values())) ** 0.5


def loaded_update(base: nn.Module, directory: Path) -> dict[str, Tensor]:
    """Delta W of each weight after peft loaded and merged the adapter."""
    before = linear_weights(base)
    after = linear_weights(PeftModel.from_pretrained(copy.deepcopy(base), directory).merge_and_unload())
    assert after.keys() == before.keys()
    return {name: after[name] - before[name] for name in before}


@pytest.mark.parametrize("lr", [2e-5, 1e-3])
@pytest.mark.parametrize("reduce", ["local", "mean"])
def test_the_update_peft_loads_is_within_one_percent_and_off_by_what_was_said(
    lr: float, reduce: str, tmp_path: Path
) -> None:
    base = Nested(torch.float64)
    before, module = linear_weights(base), copy.deepcopy(base)
    error = train(module, config(2, 3, reduce=reduce), lr).export_lora(tmp_path, before)
    expected = {name: weight - before[name] for name, weight in linear_weights(module).items()}
    found = loaded_update(base, tmp_path)
    assert 0 < error < 0.01
    assert relative_loss(found, expected) == pytest.approx(error, rel=1e-3, abs=1e-6)
    written = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (written["r"], written["lora_alpha"]) == (12, 12)


def test_clamped_ranks_are_loaded_too(tmp_path: Path) -> None:
    base = Nested(torch.float64)
    before, module = linear_weights(base), copy.deepcopy(base)
    with pytest.warns(UserWarning, match=r"body.0 to 3"):
        optimizer = train(module, config(4, 4, over_rank="clamp"), 1e-4)
    error = optimizer.export_lora(tmp_path, before)
    assert list(json.loads((tmp_path / "adapter_config.json").read_text())["rank_pattern"].values()) == [24]
    expected = {name: weight - before[name] for name, weight in linear_weights(module).items()}
    # Here A and B span a whole side of each weight, so nothing is lost but float32's rounding.
    assert error < 1e-9
    assert relative_loss(loaded_update(base, tmp_path), expected) < 1e-6


def test_layers_whose_names_end_alike_keep_their_own_ranks(tmp_path: Path) -> None:
    """`0` is clamped and `2.0` is not; and `2.1`, a namesake of a target, is no linear map."""
    inner = nn.Sequential(nn.Linear(20, 20), nn.LayerNorm(20))
    base = nn.Sequential(nn.Linear(12, 20), nn.Linear(20, 20), inner, nn.Linear(20, 24)).double()
    before, module = linear_weights(base), copy.deepcopy(base)
    with pytest.warns(UserWarning, match="clamped: 0 to 3"):
        optimizer = train(module, config(4, 4, over_rank="clamp"), 1e-4)
    error = optimizer.export_lora(tmp_path, before)
    expected = {name: weight - before[name] for name, weight in linear_weights(module).items()}
    assert relative_loss(loaded_update(base, tmp_path), expected) == pytest.approx(error, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("master", ["fp32", "kahan"])
def test_the_export_holds_what_bfloat16_weights_have_not_shown_yet(master: str, tmp_path: Path) -> None:
    base = plain.make_network(dtype=torch.bfloat16)
    before, module = linear_weights(base), copy.deepcopy(base)
    assert train(module, config(2, 3, master=master), 1e-5).export_lora(tmp_path, before) < 0.05
    twin = plain.make_network(dtype=torch.bfloat16).float()
    started = linear_weights(twin)
    train(twin, config(2, 3), 1e-5)
    expected = {name: weight - started[name] for name, weight in linear_weights(twin).items()}
    found = loaded_update(base.float(), tmp_path)
    assert relative_loss(found, expected) < 0.2  # their gradients differ by bfloat16's rounding
    shown = {name: (weight - before[name]).float() for name, weight in linear_weights(module).items()}
    assert relative_loss(shown, expected) > 0.5


def test_no_step_is_an_update_of_zero(tmp_path: Path) -> None:
    base = Nested(torch.float64)
    before, module = linear_weights(base), copy.deepcopy(base)
    assert HDPiSSAOptimizer(inject(module, config(2, 3)), 1e-3).export_lora(tmp_path, before) == 0.0
    assert all(float(delta.abs().max()) == 0 for delta in loaded_update(base, tmp_path).values())


@pytest.mark.parametrize(("m", "n", "rank"), [(6, 5, 1), (5, 7, 2), (4, 4, 3)])
def test_the_factors_are_the_best_x_a_plus_b_y(m: int, n: int, rank: int) -> None:
    generator = torch.Generator().manual_seed(0)
    update, a, bt = (torch.randn(*shape, generator=generator).double() for shape in ((m, n), (rank, n), (rank, m)))
    up, down = lora_factors(update, a, bt)
    assert (up.shape, down.shape) == ((m, 2 * rank), (2 * rank, n))
    columns = []  # vec(X A + B Y), one unknown of X or Y after another
    for i in range(m):
        columns += [torch.outer(torch.eye(m).double()[i], row).flatten() for row in a]
    for j in range(n):
        columns += [torch.outer(column, torch.eye(n).double()[j]).flatten() for column in bt]
    design = torch.stack(columns, dim=1)
    solution = torch.linalg.pinv(design) @ update.flatten()
    torch.testing.assert_close(up @ down, (design @ solution).view(m, n), rtol=1e-9, atol=1e-9)
