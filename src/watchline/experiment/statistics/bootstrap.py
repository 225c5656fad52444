"""Bootstrap by user: intervals without a formula for the variance, for skewed outcomes and as a check of the others."""

# U users, R draws

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from watchline.experiment.statistics.compare import Estimate
from watchline.experiment.statistics.means import ALPHA, Floats
from watchline.metrics import bootstrap_totals


def estimate_by_bootstrap(
    treatment: ArrayLike,
    control: ArrayLike,
    denominators: tuple[ArrayLike, ArrayLike] | None = None,
    replicates: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Lift T / C - 1 with its BCa interval and the p-value at which that begins to hold 0.

    T and C are means per user of `treatment` (U_t,) and `control` (U_c,) or, with `denominators` ((U_t,), (U_c,)),
    ratios of sums. Users are drawn with replacement within each arm, numerator and denominator together. With G the
    draws' distribution, z0 = Phi^-1(G(value)) and a the acceleration, the bounds are G^-1(Phi(z0 + (z0 + z) /
    (1 - a (z0 + z)))), z = -+z_{1-ALPHA/2}; a = sum d^3 / (6 (sum d^2)^1.5) over all users, d the jackknife's influence
    of a user over the number of the arm's users. Leaving a user out costs one subtraction from the arm's totals, so all
    of it is O(R U); SciPy's general jackknife is O(U^2) and gives the same. Assumes independent users, hundreds of them
    or more. Reference: Efron, JASA 82 (1987); Davison & Hinkley (1997), chapters 3 and 5.
    Raises ValueError for fewer than two users in an arm, denominators that sum to 0, a control of mean 0 or less.
    """
    of_treatment, of_control = denominators or (np.ones(len(np.asarray(treatment))), np.ones(len(np.asarray(control))))
    t_U2, c_U2 = _sums("treatment", treatment, of_treatment), _sums("control", control, of_control)
    t_2, c_2 = t_U2.sum(axis=0), c_U2.sum(axis=0)
    if c_2[0] / c_2[1] <= 0:
        raise ValueError(f"no relative lift over a control of mean {c_2[0] / c_2[1]}; read the difference instead")
    value = float(_lift(t_2, c_2))
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw of a control that watched nothing has no lift
        draws_R = _lift(bootstrap_totals(t_U2, replicates, [seed, 0]), bootstrap_totals(c_U2, replicates, [seed, 1]))
        influence = (_influence(_lift(t_2 - t_U2, c_2)), _influence(_lift(t_2, c_2 - c_U2)))
    return _bca(value, draws_R, np.concatenate(influence))


def _sums(arm: str, numerator: ArrayLike, denominator: ArrayLike) -> Floats:
    sums_U2 = np.stack([np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)], axis=1)
    if len(sums_U2) < 2 or not sums_U2[:, 1].sum():
        raise ValueError(
            f"{arm}: {len(sums_U2)} users with denominators of {sums_U2[:, 1].sum():g} in all; "
            "a bootstrap takes two or more users and denominators above 0"
        )
    return sums_U2


def _lift(treatment: Floats, control: Floats) -> Floats:
    """Of totals (..., 2) of numerators and denominators."""
    lift: Floats = (treatment[..., 0] / treatment[..., 1]) / (control[..., 0] / control[..., 1]) - 1
    return lift


def _influence(without_U: Floats) -> Floats:
    """A user's jackknife influence on the lift, over the number of users, from the lift without that user (U,)."""
    influence_U: Floats = (without_U.mean() - without_U) * (len(without_U) - 1) / len(without_U)
    return influence_U


def _bca(value: float, draws_R: Floats, influence_U: Floats) -> Estimate:
    spread = float(np.square(influence_U).sum()) ** 1.5
    if not spread or not np.ptp(draws_R):
        return Estimate(value, value, value, 1.0 if value == 0 else 0.0)
    acceleration = float((influence_U**3).sum()) / (6 * spread)
    bias = ndtri(np.clip(_share_below(draws_R, value), 1 / (len(draws_R) + 1), len(draws_R) / (len(draws_R) + 1)))
    shifted = bias + ndtri([ALPHA / 2, 1 - ALPHA / 2])
    low, high = np.quantile(draws_R, ndtr(bias + shifted / (1 - acceleration * shifted)), method="weibull")
    # The levels of the two one-sided intervals that end at 0; the 1 keeps them above 0, as R draws cannot tell more.
    rarer = [(1 + np.count_nonzero(side)) / (len(draws_R) + 1) for side in (draws_R <= 0, draws_R >= 0)]
    moved = np.array([ndtri(min(rarer[0], 1 - 1e-9)), -ndtri(min(rarer[1], 1 - 1e-9))]) - bias
    level = ndtr(moved / (1 + acceleration * moved) - bias)
    return Estimate(value, float(low), float(high), float(min(1.0, 2 * level[0], 2 * (1 - level[1]))))


def _share_below(draws_R: Floats, value: float) -> float:
    return float(np.mean(draws_R < value) + np.mean(draws_R == value) / 2)
