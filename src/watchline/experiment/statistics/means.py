"""Estimated means of one arm: of users' values, of a ratio of their sums, and a quantile of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]

ALPHA = 0.05
Z = float(ndtri(1 - ALPHA / 2))


@dataclass(frozen=True)
class Mean:
    """An estimated mean, the variance of the estimate, and its degrees of freedom."""

    value: float
    variance: float
    freedom: float


def mean_of(values: ArrayLike) -> Mean:
    """Sample mean of users' values (U,) with variance s^2 / U; raises ValueError for fewer than two users."""
    array = np.asarray(values, np.float64)
    if len(array) < 2:
        raise ValueError(f"an arm has {len(array)} users; a variance takes two or more, so draw more requests")
    return Mean(float(array.mean()), float(array.var(ddof=1)) / len(array), len(array) - 1.0)


def ratio_of(numerator: ArrayLike, denominator: ArrayLike) -> Mean:
    """Ratio of sums, R = sum n_u / sum d_u, with the delta method's variance; arrays (U,).

    Var R = Var(n_u - R d_u) / (U mean(d)^2), the first-order (Taylor) variance: the denominator, exposures say, is
    random too, and a user's exposures are not independent of each other. Assumes mean(d) well above 0.
    Reference: Deng, Knoblich, Lu, KDD 2018, section 3. Raises ValueError when the denominators sum to 0.
    """
    n, d = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    if not d.sum():
        raise ValueError(f"the denominators of {len(d)} users sum to 0; there is no ratio")
    ratio = float(n.sum() / d.sum())
    spread = mean_of((n - ratio * d) / d.mean())
    return Mean(ratio, spread.variance, spread.freedom)


def quantile_of(values: ArrayLike, level: float) -> Mean:
    """The `level` quantile of users' values (U,), with a variance from order statistics.

    The values at levels `level` -+ z sqrt(level (1 - level) / U), z = z_{1-ALPHA/2}, enclose the quantile with
    1 - ALPHA whatever the distribution; their distance over 2 z is the standard error. Assumes a density above 0 at the
    quantile: where many users share the value, a zero say, the error comes out as 0, which says that it is not known.
    Reference: Woodruff, JASA 47 (1952); Deng, Knoblich, Lu, KDD 2018, section 4. Raises ValueError where too few users
    lie beyond the level to enclose it.
    """
    array = np.asarray(values, np.float64)
    reach = Z * math.sqrt(level * (1 - level) / max(len(array), 1))
    if not reach < level < 1 - reach:
        least = math.ceil(Z**2 * max(level / (1 - level), (1 - level) / level)) + 1
        raise ValueError(f"{len(array)} users do not enclose the {level:g} quantile; an arm takes {least} or more")
    low, value, high = np.quantile(array, [level - reach, level, level + reach])
    return Mean(float(value), float((high - low) / (2 * Z)) ** 2, len(array) - 1.0)
