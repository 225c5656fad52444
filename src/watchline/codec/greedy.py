"""Greedy encoding: emit the largest token that fits until nothing remains. Whole arrays, no loop over rows."""

# N labels, L longest sequence of the batch, T largest remainder of the table + 1

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from watchline.codec.legal import START
from watchline.codec.vocabulary import EOS, Vocabulary

_TABLE_SIZE = 1 << 14  # remainders below this are looked up; the table stays within the processor's cache


def encode(vocabulary: Vocabulary, labels_s: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Classes (N, L) int16 and lengths (N,) int16, `<eos>` not counted; after its length a row is all `<eos>`.

    Labels (N,) in the vocabulary's measure are rounded to the nearest unit and clipped to the cap (`count_clipped`).
    Classes never increase along a row. Raises ValueError for a negative or non-finite label.
    """
    return encode_units(vocabulary, to_units(vocabulary, labels_s))


def to_units(vocabulary: Vocabulary, labels_s: ArrayLike) -> np.ndarray:
    """Labels (N,) as whole units, int64, clipped to the cap; raises ValueError for a negative or non-finite label."""
    labels_N = np.asarray(labels_s, dtype=np.float64)
    if labels_N.ndim != 1:
        raise ValueError(f"labels must be one-dimensional, got shape {labels_N.shape}")
    if len(labels_N) and not (labels_N.min() >= 0 and labels_N.max() < np.inf):  # a NaN fails the comparison too
        bad = ~(np.isfinite(labels_N) & (labels_N >= 0))
        raise ValueError(
            f"{int(bad.sum())} of {len(labels_N)} labels are negative or not finite, the first is "
            f"{labels_N[bad][0]} in row {int(np.argmax(bad))}; the codec takes amounts of 0 and more"
        )
    return np.minimum(np.rint(labels_N / vocabulary.unit_s), vocabulary.cap).astype(np.int64)


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


def decode(vocabulary: Vocabulary, classes_NL: ArrayLike) -> np.ndarray:
    """Labels (N,) float64 of class sequences (N, L): the sum of their values, in the vocabulary's measure."""
    return vocabulary.class_values.take(np.asarray(classes_NL)).sum(axis=-1) * vocabulary.unit_s


def legal_states(vocabulary: Vocabulary, classes_NL: np.ndarray) -> np.ndarray:
    """State of the legal-token automaton before each class and after the last one, int64 (N, L + 1).

    Raises ValueError when a class is not legal where it stands.
    """
    next_SC = vocabulary.legal.next_SC
    states = np.empty((len(classes_NL), classes_NL.shape[1] + 1), dtype=np.int64)
    states[:, 0] = START
    for position in range(classes_NL.shape[1]):
        states[:, position + 1] = next_SC[states[:, position], classes_NL[:, position]]
    if (states < 0).any():
        row = int(np.argmax((states < 0).any(axis=1)))
        raise ValueError(f"row {row} is no greedy sequence: {classes_NL[row].tolist()}")
    return states


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
