"""Labels as counts of whole units, read a bounded number at a time: all that a fit on labels needs to know of them."""

# N labels, U distinct labels in units

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

_CHUNK = 1 << 18

Units = NDArray[np.int64]


def count_units(labels: ArrayLike, unit: float, cap: int) -> tuple[Units, Units]:
    """Distinct labels (U,) ascending, in whole units clipped to the cap, and how many rows have each (U,).

    Labels (N,) in the measure of `unit` may be memory-mapped: memory grows with U, at most cap + 1, and not with N.
    Raises ValueError for a negative or non-finite label.
    """
    units_U, count_U = np.empty(0, np.int64), np.empty(0, np.int64)
    for number, chunk in enumerate(label_chunks(labels)):
        distinct, count = np.unique(to_whole_units(chunk, unit, cap, number * _CHUNK), return_counts=True)
        merged, position = np.unique(np.concatenate([units_U, distinct]), return_inverse=True)
        total = np.zeros(len(merged), np.int64)
        np.add.at(total, position, np.concatenate([count_U, count]))
        units_U, count_U = merged, total
    return units_U, count_U


def label_chunks(labels: ArrayLike) -> Iterator[NDArray[np.float64]]:
    """Labels (N,) in order, some hundred thousand at a time, float64."""
    labels_N = np.asanyarray(labels)
    for start in range(0, len(labels_N), _CHUNK):
        yield np.asarray(labels_N[start : start + _CHUNK], dtype=np.float64)


def to_whole_units(labels: ArrayLike, unit: float, cap: int, first_row: int = 0) -> Units:
    """Labels (N,) as whole units, clipped to the cap; raises ValueError for a negative or non-finite label.

    `first_row` is the row of the first label, for the message.
    """
    labels_N = np.asarray(labels, dtype=np.float64)
    if labels_N.ndim != 1:
        raise ValueError(f"labels must be one-dimensional, got shape {labels_N.shape}")
    if len(labels_N) and not (labels_N.min() >= 0 and labels_N.max() < np.inf):  # a NaN fails the comparison too
        bad = ~(np.isfinite(labels_N) & (labels_N >= 0))
        raise ValueError(
            f"{int(bad.sum())} of {len(labels_N)} labels are negative or not finite, the first is "
            f"{labels_N[bad][0]} in row {first_row + int(np.argmax(bad))}; the codec takes amounts of 0 and more"
        )
    return np.minimum(np.rint(labels_N / unit), cap).astype(np.int64)
