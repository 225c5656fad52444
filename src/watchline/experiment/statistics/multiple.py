"""Many comparisons at once: p-values corrected for how many are looked at, and several arms against one control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import false_discovery_control

from watchline.experiment.statistics.compare import Comparison
from watchline.experiment.statistics.means import ALPHA, Mean

Correction = Literal["holm", "benjamini_hochberg"]


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

    p_(i) of m rising ones becomes min over j >= i of min(1, m p_(j) / j). Assumes independent or positively dependent
    comparisons (arms that share a control are, one side at a time). Reference: Benjamini & Hochberg, JRSS B 57 (1995).
    """
    return [float(p) for p in false_discovery_control(np.asarray(p_values, np.float64))] if len(p_values) else []


@dataclass(frozen=True)
class ArmComparison:
    """One of several arms against the control; `p_corrected` is of the difference, the intervals are not corrected."""

    arm: str
    comparison: Comparison
    p_corrected: float

    @property
    def is_significant(self) -> bool:
        """Whether the corrected p-value is below ALPHA."""
        return self.p_corrected < ALPHA


def compare_arms_with_control(
    arms: Mapping[str, Mean], control: Mean, correction: Correction = "holm"
) -> list[ArmComparison]:
    """Every arm against the control by Welch and Fieller, p-values corrected over the arms.

    Take Holm where a single wrong arm would ship, Benjamini-Hochberg where arms are screened for a second test.
    Assumes what `estimate_difference` and the correction do.
    """
    found = [Comparison.of(mean, control) for mean in arms.values()]
    correct = {"holm": holm, "benjamini_hochberg": benjamini_hochberg}[correction]
    corrected = correct([comparison.difference.p_value for comparison in found])
    return [ArmComparison(*each) for each in zip(arms, found, corrected, strict=True)]
