"""Keys of several columns as one whole number each, so that equal ones are found by sorting numbers.

Sums are kept sorted by key, and a stable sort of a few sorted stretches is a merge: much less than hashing each key.
N rows, E entities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

_WIDEST = 1 << 31  # of a column: two of them fit one number
_LARGEST = 1 << 63


@dataclass(frozen=True)
class Runs:
    """Rows in the order of their keys: `order_N`, and where in it each of E different keys begins, `first_E`."""

    order_N: np.ndarray
    first_E: np.ndarray

    @classmethod
    def of(cls, keys: pl.DataFrame, numbers_N: np.ndarray | None = None) -> Runs:
        """Of keys without nulls; rows of the same key keep their order. `numbers_N`: what the rows are called, if not
        by their place in `keys`."""
        codes_N = pack(keys)
        order_N = np.argsort(codes_N, kind="stable")
        sorted_N = codes_N[order_N]
        begins_N = np.ones(len(keys), dtype=bool)
        np.not_equal(sorted_N[1:], sorted_N[:-1], out=begins_N[1:])
        return cls(order_N if numbers_N is None else numbers_N[order_N], np.flatnonzero(begins_N))

    @property
    def lengths_E(self) -> np.ndarray:
        """Rows of each key."""
        return np.diff(self.first_E, append=len(self.order_N))

    def sum(self, values_N: np.ndarray) -> np.ndarray:
        """Sums of `values_N`, (N,) or (N, C), by key: (E,) or (E, C)."""
        if not len(self.first_E):
            return values_N[:0]
        sums_E: np.ndarray = np.add.reduceat(values_N.take(self.order_N, axis=0), self.first_E, axis=0)
        return sums_E

    def only(self, kept_E: np.ndarray) -> Runs:
        """The rows of some of the keys; they keep their numbers."""
        lengths_E = self.lengths_E
        lengths = lengths_E[kept_E]
        return Runs(self.order_N[np.repeat(kept_E, lengths_E)], np.cumsum(lengths) - lengths)


def pack(keys: pl.DataFrame) -> np.ndarray:
    """A number (N,) int64 for each row of `keys`, which has no nulls: equal where keys are, and ordered as they are."""
    packed, size = np.zeros(len(keys), dtype=np.int64), 1
    for column in keys:
        codes, width = _codes(column)
        if size * width >= _LARGEST:
            different, packed = np.unique(packed, return_inverse=True)
            size = len(different)
        packed, size = packed * width + codes, size * width
    return packed


def _codes(column: pl.Series) -> tuple[np.ndarray, int]:
    """Numbers from 0 in the order of the values, and one more than the largest of them may be."""
    if column.is_empty():
        return np.zeros(0, dtype=np.int64), 1
    if column.dtype == pl.String:
        values = column.unique().sort()
        return column.cast(pl.Enum(values)).to_physical().to_numpy().astype(np.int64), len(values)
    numbers = column.to_physical().cast(pl.Int64).to_numpy()
    low, high = int(numbers.min()), int(numbers.max())
    if high - low < _WIDEST:
        return numbers - low, high - low + 1
    values, codes = np.unique(numbers, return_inverse=True)
    return codes, len(values)
