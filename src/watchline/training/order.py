"""The order in which an epoch visits the rows: a permutation that is computed, not stored.

A Feistel network permutes the numbers of w bits; results beyond the table are permuted again until they fall inside
(cycle walking), which is again a permutation. Any number of rows costs no memory. Source: Black & Rogaway 2002,
"Ciphers with arbitrary finite domains".
"""

# M positions of an epoch asked for at once

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 8
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # multipliers of splitmix64's finaliser


def shuffled(position_M: NDArray[np.int64], num_rows: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Rows (M,) at the given positions (M,) of one epoch, a function of seed and epoch alone.

    Over the positions 0 to num_rows - 1 every row comes once. Raises ValueError for a position outside.
    """
    if len(position_M) and not (position_M.min() >= 0 and position_M.max() < num_rows):
        raise ValueError(f"positions {position_M.min()} to {position_M.max()} of an epoch of {num_rows} rows")
    keys = np.random.SeedSequence((seed, epoch)).generate_state(_ROUNDS, np.uint64).astype(np.uint64)
    bits = max(2, (num_rows - 1).bit_length())
    row_M = position_M.astype(np.uint64)
    outside = np.arange(len(row_M))
    while len(outside):
        row_M[outside] = _permute(row_M[outside], bits, keys)
        outside = outside[row_M[outside] >= num_rows]
    return row_M.astype(np.int64)


def _permute(number_M: NDArray[np.uint64], bits: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A permutation of the numbers of `bits` bits: each half in turn takes on a hash of the other."""
    low_bits = np.uint64(bits // 2)
    masks = ((np.uint64(1) << low_bits) - np.uint64(1), (np.uint64(1) << np.uint64(bits - bits // 2)) - np.uint64(1))
    halves = [number_M & masks[0], number_M >> low_bits]
    for i, key in enumerate(keys):
        own, other = i % 2, 1 - i % 2
        halves[own] = halves[own] ^ (_hash(halves[other] + key) & masks[own])
    return halves[0] | (halves[1] << low_bits)


def _hash(number_M: NDArray[np.uint64]) -> NDArray[np.uint64]:
    number_M = (number_M ^ (number_M >> np.uint64(30))) * _MIX[0]  # modulo 2^64, as NumPy's arrays multiply
    number_M = (number_M ^ (number_M >> np.uint64(27))) * _MIX[1]
    return number_M ^ (number_M >> np.uint64(31))
