"""Hypothesis strategies and plain loops for the codec's tests."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st

from watchline.codec import Vocabulary


@st.composite
def vocabularies(draw: st.DrawFn, max_cap: int = 400) -> Vocabulary:
    """Any vocabulary with at most 64 tokens a label: ascending values from 1, a unit, a cap."""
    values = {1, *draw(st.sets(st.integers(2, max_cap), max_size=8))}
    gaps = sorted(values)
    longest_gap = sum(b // a + 1 for a, b in pairwise(gaps))
    cap = draw(st.integers(gaps[-1], max(gaps[-1], min(max_cap, gaps[-1] * max(1, 60 - longest_gap)))))
    unit_s = draw(st.sampled_from([0.001, 0.1, 0.25, 1.0, 7.0]))
    try:
        return Vocabulary(tuple(gaps), unit_s, cap)
    except ValueError:  # sequences too long: close the gaps by doubling
        doubled = {1 << k for k in range(cap.bit_length())}
        return Vocabulary(tuple(sorted(values | doubled)), unit_s, cap)


def greedy_classes(vocabulary: Vocabulary, units: int) -> list[int]:
    """The definition: the largest value that fits, until nothing remains."""
    classes = []
    for index in range(vocabulary.num_values, 0, -1):
        while units >= vocabulary.values[index - 1]:
            classes.append(index)
            units -= vocabulary.values[index - 1]
    return classes
