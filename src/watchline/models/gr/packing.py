"""Sequences of a batch laid end to end: rows sorted by length, no position spent on padding.

An `<eos>` that is certain, because nothing else may follow the token before it, has no loss and no position either.
"""

# B rows, P positions of all rows (one per token, and one for an `<eos>` that is not certain), L longest sequence

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from watchline.codec import EOS, Vocabulary, encode, legal_states


@dataclass(frozen=True)
class Packed:
    """One batch as flat positions, rows of equal length side by side.

    `order_B`: batch row of each packed row. `blocks`: (rows, positions per row) of each length, shortest first.
    `row_P`: packed row of each position; `position_P` counts from 0. `input_P` and `target_P`: classes, the input at
    position 0 being `<sos>`; `state_P`: state of the legal-token automaton before the target.
    """

    order_B: Tensor
    blocks: tuple[tuple[int, int], ...]
    row_P: Tensor
    position_P: Tensor
    input_P: Tensor
    target_P: Tensor
    state_P: Tensor


def pack_labels(vocabulary: Vocabulary, label_s_B: Tensor) -> Packed:
    """Encode labels (B,) and lay out their sequences, on the device of the labels."""
    classes_BL, length_B = encode(vocabulary, label_s_B.detach().double().cpu().numpy())
    return pack(vocabulary, classes_BL, length_B, label_s_B.device)


def pack(vocabulary: Vocabulary, classes_BL: np.ndarray, length_B: np.ndarray, device: torch.device) -> Packed:
    """Lay out encoded sequences; raises ValueError for a sequence that is not greedy."""
    states = legal_states(vocabulary, classes_BL)
    last_state_B = states[np.arange(len(states)), length_B]
    num_positions_B = length_B + (vocabulary.legal.num_legal_S[last_state_B] > 0).astype(np.int64)
    order_B = np.argsort(num_positions_B, kind="stable")
    num_positions_B, states = num_positions_B[order_B], states[order_B]
    lengths, counts = np.unique(num_positions_B, return_counts=True)
    row_P = np.repeat(np.arange(len(order_B)), num_positions_B)
    position_P = np.arange(len(row_P)) - np.repeat(np.cumsum(num_positions_B) - num_positions_B, num_positions_B)
    # A column of `<eos>` on the right gives every row its last target, one of `<sos>` on the left its first input.
    framed = np.full((len(order_B), classes_BL.shape[1] + 2), EOS, dtype=np.int64)
    framed[:, 0] = vocabulary.num_classes
    framed[:, 1:-1] = classes_BL[order_B]
    flat = (
        order_B,
        row_P,
        position_P,
        framed[row_P, position_P],
        framed[row_P, position_P + 1],
        states[row_P, position_P],
    )
    order, row, position, inputs, targets, state = (torch.from_numpy(array).to(device) for array in flat)
    blocks = tuple((int(n), int(length)) for n, length in zip(counts, lengths))
    return Packed(order, blocks, row, position, inputs, targets, state)
