"""Off-policy estimates: what a policy would have earned, from a log in which another policy chose at random.

N logged choices, each with its context, the action that was shown, the reward, and the chance ("propensity") that the
logging policy had of showing it. w = target's chance of that action / propensity. A policy that is not random has
target 1 where it would have shown the action and 0 elsewhere. All estimators assume that the recorded propensities are
the true ones, that every action the target may take has a propensity above 0 in its context (overlap), and that one
choice does not change another's reward. DR needs the propensities or the reward model to be right, not both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from watchline.experiment.logged import Log, check_overlap, clustered_error, effective_sample_size
from watchline.experiment.statistics import ALPHA, Estimate

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PolicyValue:
    """A policy's estimated mean reward per choice.

    influence_N: what each row moves the estimate by, times N; its mean is 0. `warnings` are sentences.
    """

    value: float
    low: float
    high: float
    standard_error: float
    effective_sample_size: float
    warnings: tuple[str, ...]
    influence_N: Floats = field(repr=False, compare=False)
    cluster_N: NDArray[np.int64] | None = field(repr=False, compare=False)


def replay(log: Log) -> PolicyValue:
    """Mean reward of the rows that the target would have shown too: sum m r / sum m, m the target's chance of it.

    Unbiased where the logging policy was uniform over as many actions in every row; otherwise it keeps the logging
    policy's preference among them, and SNIPS is the estimator to take. Reference: Li, Chu, Langford, Wang, WSDM 2011.
    Raises ValueError when no row matches.
    """
    return _weighted_mean(log, log.target_N)


def snips(log: Log) -> PolicyValue:
    """Self-normalised IPS: sum w r / sum w. Biased by O(1 / N), never outside the rewards' range, and of less variance
    than IPS where weights vary and rewards are far from 0.

    Reference: Swaminathan & Joachims, NIPS 2015. Raises ValueError when no row matches.
    """
    return _weighted_mean(log, log.weight_N)


def ips(log: Log) -> PolicyValue:
    """Inverse propensity scoring: mean(w r). Unbiased; its variance grows with the weights.

    Reference: Horvitz & Thompson, JASA 47 (1952).
    """
    return _finish(log, log.weight_N * log.reward_N)


def doubly_robust(log: Log, predicted_N: ArrayLike, predicted_target_N: ArrayLike) -> PolicyValue:
    """Doubly robust: mean(q_target + w (r - q)), q a reward model's mean of the action shown (N,), and q_target its
    mean over the target's own actions in the row's context, sum_a target(a) q(a) (N,).

    Unbiased when either the propensities or the model are right; less variance than IPS as far as the model explains
    the reward. The model must not have been fitted on these rows. Reference: Dudik, Langford, Li, ICML 2011.
    """
    q_N, q_target_N = np.asarray(predicted_N, np.float64), np.asarray(predicted_target_N, np.float64)
    if q_N.shape != log.reward_N.shape or q_target_N.shape != log.reward_N.shape:
        raise ValueError(f"predictions {q_N.shape}, {q_target_N.shape} for {len(log.reward_N)} rows; one per row each")
    return _finish(log, q_target_N + log.weight_N * (log.reward_N - q_N))


def compare_policies(treatment: PolicyValue, control: PolicyValue) -> tuple[Estimate, Estimate]:
    """Difference and relative lift of two policies estimated on the same rows, so their errors are paired.

    The difference's influence is the difference of influences, the lift's is (t - T/C c) / C (delta method). A policy
    compared with the logging policy itself: estimate the latter by `ips` with target = propensity.
    Raises ValueError for different numbers of rows or a control whose value is not positive.
    """
    if treatment.influence_N.shape != control.influence_N.shape:
        raise ValueError(
            f"{len(treatment.influence_N)} rows against {len(control.influence_N)}: estimate both on the same log"
        )
    if control.value <= 0:
        raise ValueError(f"no relative lift over a policy whose value is {control.value}")
    ratio = treatment.value / control.value
    difference_N = treatment.influence_N - control.influence_N
    lift_N = (treatment.influence_N - ratio * control.influence_N) / control.value
    return (
        _estimate(treatment.value - control.value, difference_N, treatment.cluster_N),
        _estimate(ratio - 1, lift_N, treatment.cluster_N),
    )


def _weighted_mean(log: Log, weight_N: Floats) -> PolicyValue:
    total = weight_N.sum()
    if not total:
        raise ValueError(f"none of {len(weight_N)} logged rows shows what the policy would show; take a larger log")
    value = float((weight_N * log.reward_N).sum() / total)
    influence_N = weight_N * (log.reward_N - value) * (len(weight_N) / total)
    return _policy_value(log, value, influence_N)


def _finish(log: Log, term_N: Floats) -> PolicyValue:
    value = float(term_N.mean())
    return _policy_value(log, value, term_N - value)


def _policy_value(log: Log, value: float, influence_N: Floats) -> PolicyValue:
    estimate = _estimate(value, influence_N, log.cluster_N)
    return PolicyValue(
        value=value,
        low=estimate.low,
        high=estimate.high,
        standard_error=clustered_error(influence_N, log.cluster_N),
        effective_sample_size=effective_sample_size(log.weight_N),
        warnings=check_overlap(log),
        influence_N=influence_N,
        cluster_N=log.cluster_N,
    )


def _estimate(value: float, influence_N: Floats, cluster_N: NDArray[np.int64] | None) -> Estimate:
    error = clustered_error(influence_N, cluster_N)
    if not error:
        return Estimate(value, value, value, 1.0 if value == 0 else 0.0)
    if math.isinf(error):
        return Estimate(value, -math.inf, math.inf, 1.0)
    freedom = (len(influence_N) if cluster_N is None else int(cluster_N.max()) + 1) - 1
    reach = float(stdtrit(freedom, 1 - ALPHA / 2)) * error
    return Estimate(value, value - reach, value + reach, 2 * float(stdtr(freedom, -abs(value) / error)))
