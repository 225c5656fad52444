"""Ranks among the training labels, for models that know labels only as numbers."""

# N labels, K knots

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

_FILE = "ranks.safetensors"
_KNOTS = 1001


@dataclass(frozen=True)
class LabelRanks:
    """Quantiles of the training labels without repeats, and the mid-rank (0 to 1) of each: those below plus half of
    those equal. Linear in between; float64 (K,)."""

    label_K: NDArray[np.float64]
    rank_K: NDArray[np.float64]

    @classmethod
    def fit(cls, label_N: NDArray[np.float64], num_knots: int = _KNOTS) -> Self:
        """Fit on the training labels (N,); fewer knots than asked for where labels repeat."""
        ordered = np.sort(label_N)
        knots = np.unique(np.quantile(ordered, np.linspace(0.0, 1.0, num_knots), method="nearest"))
        ends = np.searchsorted(ordered, knots, "left"), np.searchsorted(ordered, knots, "right")
        return cls(knots, (ends[0] + ends[1]) / 2 / len(ordered))

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Ranks of values in the measure of the labels, any shape."""
        ranks: NDArray[np.float64] = np.interp(values, self.label_K, self.rank_K)
        return ranks

    def save(self, directory: Path) -> None:
        """Write ranks.safetensors."""
        save_file({"label": self.label_K, "rank": self.rank_K}, directory / _FILE)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote; raises ValueError naming the file when it is missing or broken."""
        try:
            tensors = load_file(directory / _FILE)
            return cls(tensors["label"], tensors["rank"])
        except (OSError, KeyError, SafetensorError) as error:
            raise ValueError(f"{directory / _FILE}: no ranks ({error}); `dvc checkout` restores the model") from error
