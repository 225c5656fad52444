"""Many comparisons at once: p-values corrected for how many are looked at, and several arms against one control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import false_discovery_control

from watchline.experiment.statistics.compare import Comparison
from watchline.experiment.statistics.means import Mean


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected p-values, in the order given: those below a level are wrong once or more with at most that chance.

    p_(i) of m rising ones becomes max over j <= i of min(1, (m - j + 1) p_(j)); no assumption on how comparisons depend
    on each other. Reference: Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    p_M = np.asarray(p_values, np.float64)
    order_M = np.argsort(p_M, kind="stable")
    rising_M = np.minimum(1.0, (len(p_M) - np.arange(len(p_M))) * p_M[order_M])
    corrected_M = np.empty(len(p_M))
    corrected_M[order_M] = np.maximum.accumulate(rising_M)
    return [float(p) for p in corrected_M]


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Corrected p-values, in the order given: of those below a level, at most that share is wrong on average.

    p_(i) of m rising ones becomes min over j >= i of min(1, m p_(j) / j), the q-value. Assumes comparisons that are
    independent or positively dependent. Reference: Benjamini & Hochberg, JRSS B 57 (1995).
    """
    return [float(p) for p in false_discovery_control(np.asarray(p_values, np.float64))] if len(p_values) else []


@dataclass(frozen=True)
class ArmComparison:
    """One of several arms against the control; `p_corrected` is of the difference, the intervals are not corrected."""

    arm: str
    comparison: Comparison
    p_corrected: float


def compare_arms_with_control(arms: Mapping[str, Mean], control: Mean) -> list[ArmComparison]:
    """Every arm against the control by Welch and Fieller, p-values corrected over the arms by Holm's method.

    A single wrong arm would ship, so that none may be wrong. Assumes what `estimate_difference` does.
    """
    found = [Comparison.of(mean, control) for mean in arms.values()]
    corrected = holm([comparison.difference.p_value for comparison in found])
    return [ArmComparison(*each) for each in zip(arms, found, corrected, strict=True)]
