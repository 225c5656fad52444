"""Greedy encoding: emit the largest token that fits until nothing remains. Whole arrays, no loop over rows."""

# N labels, L longest sequence of the batch, T largest remainder of the table + 1

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from watchline.codec.counting import to_whole_units
from watchline.codec.tensors import in_kind_of, to_numpy
from watchline.codec.vocabulary import EOS, Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

_TABLE_SIZE = 1 << 14  # remainders below this are looked up; the table stays within the processor's cache


@overload
def encode(vocabulary: Vocabulary, labels_s: Tensor) -> tuple[Tensor, Tensor]: ...
@overload
def encode(vocabulary: Vocabulary, labels_s: NDArray[Any] | Sequence[float]) -> tuple[np.ndarray, np.ndarray]: ...
def encode(vocabulary: Vocabulary, labels_s: Any) -> Any:
    """Classes (N, L) int16 and lengths (N,) int16, `<eos>` not counted; after its length a row is all `<eos>`.

    Labels (N,) in the vocabulary's measure are rounded to the nearest unit and clipped to the cap (`count_clipped`).
    Classes never increase along a row. A tensor gives tensors on its device, NumPy gives NumPy. Raises ValueError for
    a negative or non-finite label.
    """
    classes_NL, length_N = encode_units(vocabulary, to_units(vocabulary, to_numpy(labels_s)))
    return in_kind_of(labels_s, classes_NL), in_kind_of(labels_s, length_N)


def to_units(vocabulary: Vocabulary, labels_s: ArrayLike) -> np.ndarray:
    """Labels (N,) as whole units, int64, clipped to the cap; raises ValueError for a negative or non-finite label."""
    return to_whole_units(labels_s, vocabulary.unit_s, vocabulary.cap)


def count_clipped(vocabulary: Vocabulary, labels_s: ArrayLike) -> int:
    """Labels that `encode` clips to the cap."""
    labels_N = np.asarray(labels_s, dtype=np.float64)
    return int((np.rint(labels_N / vocabulary.unit_s) > vocabulary.cap).sum())


def encode_units(vocabulary: Vocabulary, units_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Like `encode`, from whole units (N,) between 0 and the cap."""
    tail = _tail_table(vocabulary)
    rows, heads, remainder_N = _emit_heads(vocabulary, units_N, len(tail.classes_TL))
    length_N = tail.length_T.take(remainder_N)
    classes_NL = tail.classes_TL.take(remainder_N, axis=0)
    if rows is None:
        return np.ascontiguousarray(classes_NL[:, : int(length_N.max(initial=0))]), length_N
    return _prepend(classes_NL, length_N, rows, heads)


@overload
def decode(vocabulary: Vocabulary, classes_NL: Tensor) -> Tensor: ...
@overload
def decode(vocabulary: Vocabulary, classes_NL: NDArray[Any]) -> NDArray[np.float64]: ...
def decode(vocabulary: Vocabulary, classes_NL: Any) -> Any:
    """Labels (N,) float64 of class sequences (N, L): the sum of their values, in the vocabulary's measure.

    A tensor gives a tensor on its device, NumPy gives NumPy.
    """
    amount_N = vocabulary.class_values.take(to_numpy(classes_NL)).sum(axis=-1) * vocabulary.unit_s
    return in_kind_of(classes_NL, amount_N)


class _Tail:
    """Sequences of every remainder below T."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        remainder_T = np.arange(min(_TABLE_SIZE, vocabulary.cap + 1), dtype=np.int64)
        columns = []
        while remainder_T.any():
            index_T = np.searchsorted(vocabulary.values_V, remainder_T, side="right")
            columns.append(index_T.astype(np.int16))
            remainder_T = remainder_T - vocabulary.class_values[index_T]
        empty = np.zeros((len(remainder_T), 0), dtype=np.int16)
        self.classes_TL = np.ascontiguousarray(np.stack(columns, axis=1)) if columns else empty
        self.length_T = (self.classes_TL != EOS).sum(axis=1).astype(np.int16)


@lru_cache(maxsize=16)
def _tail_table(vocabulary: Vocabulary) -> _Tail:
    return _Tail(vocabulary)


def _emit_heads(
    vocabulary: Vocabulary, units_N: np.ndarray, table_size: int
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Emit tokens of the labels too large for the table until their remainder is in it.

    Returns these rows (None: no row is too large), their first classes (rows, K) and the remainders of all rows.
    """
    if len(units_N) == 0 or int(units_N.max()) < table_size:
        return None, np.empty((0, 0), np.int16), units_N
    rows = np.flatnonzero(units_N >= table_size)
    remainder = units_N[rows]
    columns: list[np.ndarray] = []
    active = np.arange(len(rows))
    while len(active):
        left = remainder[active]
        index = np.searchsorted(vocabulary.values_V, left, side="right")
        column = np.zeros(len(rows), dtype=np.int16)
        column[active] = index
        columns.append(column)
        left -= vocabulary.class_values.take(index)
        remainder[active] = left
        active = active[left >= table_size]
    remainder_N = units_N.copy()
    remainder_N[rows] = remainder
    return rows, np.stack(columns, axis=1), remainder_N


def _prepend(
    tail_NL: np.ndarray, length_N: np.ndarray, rows: np.ndarray, heads: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Put the head classes of `rows` before their tails."""
    num_heads = (heads != EOS).sum(axis=1).astype(np.int16)
    length_N[rows] += num_heads
    tails = tail_NL[rows]
    width = tails.shape[1]
    classes = np.zeros((len(tail_NL), int(length_N.max())), dtype=np.int16)
    shared = min(width, classes.shape[1])
    classes[:, :shared] = tail_NL[:, :shared]
    for count in range(1, heads.shape[1] + 1):
        same = num_heads == count
        moved = np.zeros((int(same.sum()), count + width), dtype=np.int16)
        moved[:, :count] = heads[same, :count]
        moved[:, count:] = tails[same]
        fits = min(moved.shape[1], classes.shape[1])
        classes[rows[same], :fits] = moved[:, :fits]
    return classes, length_N
