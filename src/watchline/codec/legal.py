"""Which tokens a greedy sequence can continue with, as a small automaton.

The remainder of a label after some tokens has an exclusive upper bound R: the cap + 1 at first; after token v it is
min(R - v, v+ - v), v+ the next larger token (METHODS section 2). A token is legal where its value is below R, and
`<eos>` always is. Only few values of R occur, so bounds become states, and everything a table lookup.
"""

# V values, S states

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

START = 0  # state before the first token


@dataclass(frozen=True)
class LegalTokens:
    """States of a sequence under way.

    `bound_S`: exclusive bound R of the remainder, units. `num_legal_S`: legal values; classes 0 to num_legal are legal
    (class 0 is `<eos>`). `next_SC`: state after each class (S, V + 1), -1 where illegal; `<eos>` keeps the state.
    `max_length`: most tokens that can still follow the start, `<eos>` not counted.
    """

    bound_S: np.ndarray
    num_legal_S: np.ndarray
    next_SC: np.ndarray
    max_length: int

    @property
    def goes_on_SC(self) -> np.ndarray:
        """Whether anything but `<eos>` can follow each class, bool (S, V + 1); where not, `<eos>` is certain."""
        goes_on: np.ndarray = (self.next_SC >= 0) & (self.num_legal_S[self.next_SC] > 0)
        goes_on[:, 0] = False
        return goes_on


def next_bound(values: Sequence[int], bound: int, index: int) -> int:
    """Bound R after emitting values[index] under `bound`, units."""
    left = bound - values[index]
    return min(left, values[index + 1] - values[index]) if index + 1 < len(values) else left


def build_legal_tokens(values: Sequence[int], cap: int, max_tokens: int) -> LegalTokens:
    """Explore every bound reachable from cap + 1.

    Raises ValueError when a sequence can be longer than `max_tokens`.
    """
    index_of = {cap + 1: START}
    bounds, edges = [cap + 1], []
    for bound in bounds:  # grows while it is walked
        following = [next_bound(values, bound, i) for i in range(bisect_left(values, bound))]
        for reached in following:
            if reached not in index_of:
                index_of[reached] = len(bounds)
                bounds.append(reached)
        edges.append([index_of[reached] for reached in following])
        if len(bounds) > max_tokens * (len(values) + 1):
            raise ValueError(_too_long(cap, max_tokens))
    next_SC = np.full((len(bounds), len(values) + 1), -1, dtype=np.int64)
    next_SC[:, 0] = np.arange(len(bounds))
    for state, reached_states in enumerate(edges):
        next_SC[state, 1 : len(reached_states) + 1] = reached_states
    longest = _longest(bounds, edges)
    if longest > max_tokens:
        raise ValueError(_too_long(cap, max_tokens))
    num_legal = np.array([len(reached_states) for reached_states in edges], dtype=np.int64)
    return LegalTokens(np.array(bounds, dtype=np.int64), num_legal, next_SC, longest)


def _longest(bounds: Sequence[int], edges: Sequence[Sequence[int]]) -> int:
    """Most tokens after the start; bounds only fall along an edge, so one pass from the smallest is enough."""
    longest = [0] * len(bounds)
    for state in sorted(range(len(bounds)), key=bounds.__getitem__):
        longest[state] = max((1 + longest[reached] for reached in edges[state]), default=0)
    return longest[START]


def _too_long(cap: int, max_tokens: int) -> str:
    return (
        f"a label of up to {cap} units would need more than {max_tokens} tokens; "
        "add token values where the gaps are widest, or lower cap_s"
    )
