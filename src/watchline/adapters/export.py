"""What HD-PiSSA did to a model as a LoRA adapter in peft's file format."""

# m outputs, n inputs, R = K r over all slices

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

_PREFIX = "base_model.model."  # peft's, before the module's own names


def save_lora(directory: Path, updates: Iterable[tuple[str, Tensor, Tensor, Tensor]]) -> float:
    """Write adapter_config.json and adapter_model.safetensors (float32, rank 2 R, alpha = rank) into `directory`.

    `updates` gives name, Delta W (m, n), stacked A (R, n) and B^T (R, m) of one layer after another. Returns the
    relative error of the exported update, in the Frobenius norm over all layers.
    """
    tensors, ranks, lost, whole = {}, {}, 0.0, 0.0
    for name, update_mn, a_Rn, bt_Rm in updates:
        up_mL, down_Ln = lora_factors(update_mn, a_Rn, bt_Rm)
        lost += float((update_mn - up_mL @ down_Ln).square().sum())
        whole += float(update_mn.square().sum())
        ranks[name] = down_Ln.shape[0]
        tensors[f"{_PREFIX}{name}.lora_A.weight"] = down_Ln.float().contiguous().cpu()
        tensors[f"{_PREFIX}{name}.lora_B.weight"] = up_mL.float().contiguous().cpu()
    directory.mkdir(parents=True, exist_ok=True)
    save_file(tensors, directory / "adapter_model.safetensors")
    (directory / "adapter_config.json").write_text(json.dumps(_config(ranks), indent=2, sort_keys=True) + "\n")
    return (lost / whole) ** 0.5 if whole else 0.0


def lora_factors(update_mn: Tensor, a_Rn: Tensor, bt_Rm: Tensor) -> tuple[Tensor, Tensor]:
    """The best X A + B Y to an update, as (m, 2R) and (2R, n) factors in its dtype.

    With P and Q the orthogonal projections onto the rows of A and the columns of B it is D P + Q D (1 - P): one part
    per side, the second without what the first has.
    """
    rows_nR = torch.linalg.qr(a_Rn.to(update_mn.dtype).T).Q
    columns_mR = torch.linalg.qr(bt_Rm.to(update_mn.dtype).T).Q
    onto_rows_mR = update_mn @ rows_nR
    rest_Rn = columns_mR.T @ update_mn - (columns_mR.T @ onto_rows_mR) @ rows_nR.T
    return torch.cat((onto_rows_mR, columns_mR), dim=1), torch.cat((rows_nR.T, rest_Rn))


def _config(ranks: Mapping[str, int]) -> dict[str, object]:
    """peft's LoraConfig of a scale of 1 on exactly these layers."""
    # Patterns of whole names: peft takes plain ones for the ends of names, and others may end alike.
    highest = max(ranks.values())
    others = {f"^{re.escape(name)}": rank for name, rank in ranks.items() if rank != highest}
    return {
        "peft_type": "LORA",
        "r": highest,
        "lora_alpha": highest,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": "|".join(re.escape(name) for name in sorted(ranks)),
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
    }
