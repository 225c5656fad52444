"""Statistics of a label that was trained on as a ratio to a column of each row, in the label's own measure.

Quantiles, mean and paths of a ratio times its denominator are those of the label. Ranks and logarithms are not linear:
they are means over quantiles of equal parts of the distribution, off by at most 1 / (2 STRATA) of the largest value.
"""

# N rows, K strata

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from watchline.models.ranks import LabelRanks

_CURVED = ("expected_rank", "mean_log")
STRATA = 64
_LEVELS = tuple(f"quantile:{(i + 0.5) / STRATA}" for i in range(STRATA))


def statistics_of_ratio(statistics: Sequence[str]) -> list[str]:
    """What to ask of the ratio's distribution for the given statistics of the label."""
    levels = _LEVELS if any(name in _CURVED for name in statistics) else ()
    return list(dict.fromkeys([*(name for name in statistics if name not in _CURVED), *levels]))


def restore_statistics(
    found: Mapping[str, NDArray[np.float64]], per_N: NDArray[np.float64], ranks: LabelRanks, statistics: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """Statistics of the label (N,) from those of its ratio to `per_N`, found as `statistics_of_ratio` says."""
    restored = {}
    for name in statistics:
        if name in _CURVED:
            label_KN = np.stack([found[level] for level in _LEVELS]) * per_N
            restored[name] = (ranks(label_KN) if name == "expected_rank" else np.log1p(label_KN)).mean(axis=0)
        else:
            restored[name] = found[name] * per_N
    return restored
