"""Rank correlation of two lists, over many draws of both at once."""

# R draws, M things ranked

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]


def spearman(x_RM: Floats, y_RM: Floats) -> Floats:
    """Spearman's rho of each row (R,): Pearson's correlation of the ranks, ties at their mean rank.

    NaN for a row in which either is constant. Reference: Kendall & Gibbons, Rank Correlation Methods (1990), chapter 1.
    """
    first_RM, second_RM = (_centred(rankdata(values, axis=1)) for values in (x_RM, y_RM))
    return _quotient((first_RM * second_RM).sum(axis=1), (first_RM**2).sum(axis=1) * (second_RM**2).sum(axis=1))


def kendall(x_RM: Floats, y_RM: Floats) -> Floats:
    """Kendall's tau-b of each row (R,): sum of sign(dx) sign(dy) over pairs / sqrt(pairs untied in x * untied in y).

    NaN for a row in which either is constant. Reference: as `spearman`, chapter 3.
    """
    above = np.triu_indices(x_RM.shape[1], 1)
    first, second = (np.sign(values[:, above[0]] - values[:, above[1]]) for values in (x_RM, y_RM))
    return _quotient((first * second).sum(axis=1), (first**2).sum(axis=1) * (second**2).sum(axis=1))


def _centred(rank_RM: Floats) -> Floats:
    centred: Floats = rank_RM - rank_RM.mean(axis=1, keepdims=True)
    return centred


def _quotient(above_R: Floats, below_R: Floats) -> Floats:
    quotient: Floats = np.where(below_R > 0, above_R / np.sqrt(np.where(below_R > 0, below_R, 1)), np.nan)
    return quotient
