"""CUPED: what users did before the test takes out of the variance what it explains."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from watchline.experiment.statistics.means import Mean, mean_of


@dataclass(frozen=True)
class Cuped:
    """Both arms' adjusted means, the coefficient theta, the correlation rho, and 1 - (adjusted / plain variance)."""

    treatment: Mean
    control: Mean
    theta: float
    rho: float
    variance_reduction: float


def estimate_cuped(treatment: ArrayLike, control: ArrayLike, pre_treatment: ArrayLike, pre_control: ArrayLike) -> Cuped:
    """Means adjusted by a covariate from before the test: Y_u - theta (X_u - mean X), theta = cov(X, Y) / var(X).

    `treatment`, `pre_treatment` (U_t,); `control`, `pre_control` (U_c,). theta is pooled within arms, so that a true
    effect does not enter it; mean X is over both arms. The variance falls by rho^2, the squared correlation of X and Y.
    Assumes that X is not touched by the treatment: it must be measured before. theta is estimated, which costs O(1/U).
    Reference: Deng, Xu, Kohavi, Walker, WSDM 2013.
    """
    outcome = [np.asarray(values, np.float64) for values in (treatment, control)]
    before = [np.asarray(values, np.float64) for values in (pre_treatment, pre_control)]
    x = np.concatenate([values - values.mean() for values in before])
    y = np.concatenate([values - values.mean() for values in outcome])
    xx, xy, yy = float(x @ x), float(x @ y), float(y @ y)
    theta = xy / xx if xx else 0.0
    rho = xy / math.sqrt(xx * yy) if xx and yy else 0.0
    centre = float(np.concatenate(before).mean())
    adjusted = [mean_of(values - theta * (pre - centre)) for values, pre in zip(outcome, before, strict=True)]
    return Cuped(adjusted[0], adjusted[1], theta, rho, rho**2)
