"""Rows of a batch: one example padded, or several packed; and which rows a slice gets in a step.

No attention mask is needed. Padding comes after the tokens, where causal attention never looks. Packed examples are
told apart by positions that begin anew: transformers then confines attention to each of them.
"""

# B rows of a batch, T tokens of its longest row, N rows of the data set

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from watchline.sft.tokens import TokenSequence
from watchline.training.order import shuffled

IGNORED = -100  # a target without loss, as torch's cross-entropy has it

Row = tuple[int, ...]  # numbers of the examples in one row


@dataclass(frozen=True)
class Batch:
    """Tokens, their positions and what each is to predict, all (B, T) int64; targets are already shifted."""

    ids_BT: Tensor
    positions_BT: Tensor
    targets_BT: Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return Batch(self.ids_BT.to(device), self.positions_BT.to(device), self.targets_BT.to(device))


def one_per_row(sequences: Sequence[TokenSequence]) -> list[Row]:
    """Every example in a row of its own."""
    return [(number,) for number in range(len(sequences))]


def pack(sequences: Sequence[TokenSequence], length: int) -> list[Row]:
    """Whole examples in rows of at most `length` tokens: the longest first, each where it fits best.

    A function of the lengths alone; the rows of a pass over the data are shuffled, not what is in them.
    """
    rows: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(length + 1)]  # rows by the tokens they have left
    for number in sorted(range(len(sequences)), key=lambda i: (-len(sequences[i].ids), i)):
        size = len(sequences[number].ids)
        room = next((room for room in range(size, length + 1) if with_room[room]), None)
        if room is None:
            rows.append([number])
            with_room[length - size].append(len(rows) - 1)
        else:
            row = with_room[room].pop()
            rows[row].append(number)
            with_room[room - size].append(row)
    return [tuple(row) for row in rows]


def make_batch(rows: Sequence[Row], sequences: Sequence[TokenSequence], pad_id: int) -> Batch:
    """Rows as one batch, padded to the longest of them."""
    width = max(sum(len(sequences[number].ids) for number in row) for row in rows)
    ids_BT = torch.full((len(rows), width), pad_id)
    # Positions run on through the padding of a single example: only packed rows have any that begin anew.
    positions_BT = torch.arange(width).repeat(len(rows), 1)
    targets_BT = torch.full((len(rows), width), IGNORED)
    for b, row in enumerate(rows):
        start = 0
        for number in row:
            ids_T = torch.from_numpy(sequences[number].ids.astype(np.int64))
            stop, first = start + len(ids_T), max(1, sequences[number].prompt_length)
            ids_BT[b, start:stop] = ids_T
            positions_BT[b, start:] = torch.arange(width - start)
            targets_BT[b, start + first - 1 : stop - 1] = ids_T[first:]
            start = stop
    return Batch(ids_BT, positions_BT, targets_BT)


@dataclass(frozen=True)
class Schedule:
    """Which rows each slice gets in each step; a function of seed, epoch and slice, not of processes.

    In an epoch every slice has the same number of rows, `rows_per_step` in a step and what is left in the last one;
    N modulo num_slices rows are left out, others every time.
    """

    num_rows: int
    num_slices: int
    rows_per_step: int  # of one slice
    seed: int

    def __post_init__(self) -> None:
        if self.num_rows < self.num_slices:
            raise ValueError(
                f"{self.num_rows} sequences are too few for train.tuner.num_slices={self.num_slices}, each of which "
                "needs its own; add data, lower num_slices, or switch train.sequence.packing off"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one pass over the rows."""
        return -(-(self.num_rows // self.num_slices) // self.rows_per_step)

    def rows(self, slice_index: int, step: int) -> NDArray[np.int64]:
        """Row numbers of one slice in global step `step`, in order."""
        epoch, of_epoch = divmod(step, self.steps_per_epoch)
        usable = self.num_rows // self.num_slices
        first = of_epoch * self.rows_per_step
        places = np.arange(first, min(first + self.rows_per_step, usable), dtype=np.int64)
        return shuffled(places * self.num_slices + slice_index, self.num_rows, self.seed, epoch)
