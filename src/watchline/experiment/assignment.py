"""Which arm a user is in: a salted hash, so that the answer needs no table and never changes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def hash_uniform(user_id: NDArray[np.int64], salt: str) -> NDArray[np.float64]:
    """A number in [0, 1) per user (U,): the first 8 bytes of BLAKE2b of ``salt:user_id`` over 2^64.

    Users are uniform and independent over ids, and over salts for one id; the same on every machine.
    """
    digests = (hashlib.blake2b(f"{salt}:{user}".encode(), digest_size=8).digest() for user in user_id.tolist())
    # 2^64 - 1 rounds up to 2^64 as a float: drop the bits a float cannot hold.
    return (np.frombuffer(b"".join(digests), ">u8") >> np.uint64(11)).astype(np.float64) / 2.0**53


def assign(user_id: NDArray[np.int64], salt: str, shares: Sequence[float] = (0.5, 0.5)) -> NDArray[np.int64]:
    """Arm number of each user (U,): arm a takes the a-th part of [0, 1), as long as its share.

    Raises ValueError when shares are not positive or do not sum to 1.
    """
    if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"shares of the arms must be positive and sum to 1, got {list(shares)}")
    return np.searchsorted(np.cumsum(shares)[:-1], hash_uniform(user_id, salt), side="right")
