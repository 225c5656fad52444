"""Random numbers of a simulation: a stream for each purpose, chunk and arm, whichever process draws from it."""

from __future__ import annotations

import numpy as np

# What numbers are drawn for.
REQUESTS, CANDIDATES, EXPLORATION, ANSWERS, EXPECTATION = range(1, 6)


def stream(seed: int, purpose: int, *path: int) -> np.random.Generator:
    """The stream of `purpose` at `path` (chunk, arm): Philox, counter-based, keyed by a hash of all of the numbers.

    Streams of different keys are independent, and none depends on what others have drawn.
    Reference: Salmon, Moraes, Dror, Shaw, Parallel random numbers: as easy as 1, 2, 3 (SC 2011).
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, purpose, *path])))
