"""Guardrails: quantities that the treatment must not harm, each held to a non-inferiority margin."""

# U users; every array has one value per user of an arm, totals of the test's time

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from watchline.experiment.statistics.compare import Comparison, Estimate
from watchline.experiment.statistics.means import Floats, Mean, mean_of, quantile_of, ratio_of

Outcome = Literal["pass", "harmed", "cannot tell"]
Better = Literal["higher", "lower"]

TAIL_SHARE = 0.1  # users of least watch time before the test
LOW_QUANTILE = 0.25  # of watch time during the test; at lower ones many users have watched nothing
TIED = "so many users share the value at the quantile that its error is not known"


@dataclass(frozen=True)
class Guardrail:
    """One quantity in both arms, the relative loss that is accepted (margin), and the verdict.

    reason: why nothing can be told, where that is not the width of the interval.
    """

    name: str
    better: Better
    margin: float
    comparison: Comparison
    verdict: Outcome
    reason: str = ""


def check_guardrail(name: str, treatment: Mean, control: Mean, margin: float, better: Better = "higher") -> Guardrail:
    """Non-inferiority of one quantity, from Fieller's 95 % interval of its lift: the loss is below `margin` of control.

    With loss = -lift where higher is better, lift where lower is: `pass` when the whole interval's loss is below the
    margin; `harmed` when it is not and the whole interval is a loss; `cannot tell` otherwise, also over a control of
    mean 0. A loss as large as the margin passes with ALPHA / 2, no loss at all is called harm with ALPHA / 2 at most.
    Each verdict is of one guardrail and not corrected for their number: of guardrails without a loss, one in forty is
    called harmed by chance, so the decision of a test names a harm with its q-value. It does not ask that all pass,
    so a gain with `cannot tell` beside it is no proof that nothing is harmed. Reference: CONSORT extension for
    non-inferiority, JAMA 308 (2012). Raises ValueError for a margin that is not positive.
    """
    if not margin > 0:
        raise ValueError(f"guardrail {name}: margin {margin}; no test shows no loss at all, so allow some")
    comparison = Comparison.of(treatment, control)
    return Guardrail(name, better, margin, comparison, _verdict(comparison, margin, better))


def _verdict(comparison: Comparison, margin: float, better: Better) -> Outcome:
    lift = comparison.lift
    low, high = (lift.low, lift.high) if lift else (-math.inf, math.inf)
    least_loss, most_loss = (-high, -low) if better == "higher" else (low, high)
    if most_loss < margin:
        return "pass"
    return "harmed" if least_loss > 0 else "cannot tell"


@dataclass(frozen=True)
class UserOutcomes:
    """Totals of an arm's users (U,): seconds watched, exposures, plays to the end, quick skips, sessions; and before.

    `pre_watch_s`: watch time of the same users before the test, which no arm has touched.
    """

    watch_s: Floats
    exposures: Floats
    completions: Floats
    skips: Floats
    sessions: Floats
    pre_watch_s: Floats

    def of(self, members: NDArray[np.bool_]) -> Self:
        """The same of some users, `members` (U,)."""
        return type(self)(*(getattr(self, field.name)[members] for field in fields(self)))


def tail_threshold(pre_watch_s: ArrayLike, share: float = TAIL_SHARE) -> float:
    """Watch time before the test at or below which a user is a tail user: the `share` quantile over all arms' users.

    Users at the threshold itself, those who watched nothing say, are all of the tail, so it may hold more than `share`.
    """
    return float(np.quantile(np.asarray(pre_watch_s, np.float64), share))


@dataclass(frozen=True)
class _Rule:
    better: Better
    estimate: Callable[[UserOutcomes, float], Mean]  # of an arm, given the tail's threshold
    is_quantile: bool = False  # an error of 0 is then one that is not known


def _tail_mean(arm: UserOutcomes, threshold: float) -> Mean:
    return mean_of(arm.watch_s[arm.pre_watch_s <= threshold])


GUARDRAILS = {
    "completion_rate": _Rule("higher", lambda arm, _: ratio_of(arm.completions, arm.exposures)),
    "quick_skip_rate": _Rule("lower", lambda arm, _: ratio_of(arm.skips, arm.exposures)),
    "sessions_per_user": _Rule("higher", lambda arm, _: mean_of(arm.sessions)),
    "exposures_per_session": _Rule("higher", lambda arm, _: ratio_of(arm.exposures, arm.sessions)),
    "watch_of_tail_users": _Rule("higher", _tail_mean),
    "watch_low_quantile": _Rule("higher", lambda arm, _: quantile_of(arm.watch_s, LOW_QUANTILE), is_quantile=True),
}


def check_guardrails(treatment: UserOutcomes, control: UserOutcomes, margins: Mapping[str, float]) -> list[Guardrail]:
    """The guardrails that `margins` (name -> accepted relative loss) asks for, in its order.

    completion_rate, quick_skip_rate: per exposure, delta method. sessions_per_user; exposures_per_session: a session's
    length. watch_of_tail_users: mean seconds of the users who watched least before (TAIL_SHARE); a choice made before
    the test, so the arms' tails stay comparable. watch_low_quantile: seconds at the LOW_QUANTILE of users, a quantile
    treatment effect; `cannot tell`, with the reason, where it is tied in an arm. Assumes independent users and random
    assignment. Reference: as `check_guardrail`; Kohavi, Tang, Xu (2020), chapter 7. Raises ValueError for a name it
    does not know and for an arm that is too small for one of them, naming it.
    """
    unknown = sorted(set(margins) - set(GUARDRAILS))
    if unknown:
        raise ValueError(f"no guardrail {', '.join(unknown)}; there are {', '.join(GUARDRAILS)}")
    threshold = tail_threshold(np.concatenate([treatment.pre_watch_s, control.pre_watch_s]))
    found = []
    for name, margin in margins.items():
        rule = GUARDRAILS[name]
        try:
            means = rule.estimate(treatment, threshold), rule.estimate(control, threshold)
        except ValueError as error:
            raise ValueError(f"guardrail {name}: {error}") from None
        checked = check_guardrail(name, *means, margin, rule.better)
        is_tied = rule.is_quantile and not all(mean.variance for mean in means)
        found.append(_untold(checked, TIED) if is_tied else checked)
    return found


def _untold(checked: Guardrail, reason: str) -> Guardrail:
    """The guardrail with intervals that nothing bounds: its values stand, what they are worth is not known."""
    of = checked.comparison
    comparison = replace(of, difference=_unbounded(of.difference), lift=of.lift and _unbounded(of.lift))
    return replace(checked, comparison=comparison, verdict="cannot tell", reason=reason)


def _unbounded(estimate: Estimate) -> Estimate:
    return Estimate(estimate.value, -math.inf, math.inf, 1.0)
