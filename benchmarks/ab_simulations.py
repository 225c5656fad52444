"""Simulated A/B tests whose truth is known: what tests and benchmarks/ab_statistics.py hold the statistics against."""

# R runs, L looks, U users of an arm

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from watchline.experiment import planning
from watchline.experiment import statistics as ab

USERS = 400  # of an arm
EFFECT = 0.1  # lift of the runs that measure coverage

Trial = Callable[[np.random.Generator, float], tuple[ab.Estimate, float]]  # lift -> estimate, its truth


def users(generator: np.random.Generator, num_users: int, mean: float = 1.0) -> np.ndarray:
    """Skewed watch times of mean `mean`: a tenth of the users watches nothing."""
    return np.where(generator.random(num_users) < 0.1, 0.0, generator.gamma(0.8, mean / 0.72, num_users))


def exposures_and_watch(
    generator: np.random.Generator, num_users: int, per_exposure: float
) -> tuple[np.ndarray, np.ndarray]:
    """Users with few or many exposures of a taste of their own, so that exposures of one user are alike."""
    exposures = 1 + generator.poisson(generator.gamma(1.0, 5.0, num_users))
    taste = generator.gamma(2.0, per_exposure / 2.0, num_users)
    return taste * exposures + generator.normal(0, 0.3, num_users) * np.sqrt(exposures), exposures


def before_and_after(generator: np.random.Generator, num_users: int, lift: float) -> tuple[np.ndarray, np.ndarray]:
    """Watch time of two periods of users with tastes of their own, correlation .4; the second has mean 1 + lift."""
    taste = generator.gamma(2.0, 0.5, num_users)
    before, after = (taste * generator.gamma(2.0, 0.5, num_users) for _ in range(2))
    return before, (1 + lift) * after


def _welch(generator: np.random.Generator, lift: float) -> tuple[ab.Estimate, float]:
    arms = users(generator, USERS, 1 + lift), users(generator, USERS // 2)
    return ab.estimate_difference(*map(ab.mean_of, arms)), lift


def _fieller(generator: np.random.Generator, lift: float) -> tuple[ab.Estimate, float]:
    arms = users(generator, USERS, 1 + lift), users(generator, USERS)
    return ab.estimate_lift(*map(ab.mean_of, arms)), lift


def _ratio(generator: np.random.Generator, lift: float) -> tuple[ab.Estimate, float]:
    arms = exposures_and_watch(generator, USERS, 2 * (1 + lift)), exposures_and_watch(generator, USERS, 2.0)
    return ab.estimate_difference(*(ab.ratio_of(*arm) for arm in arms)), 2 * lift


def _cuped(generator: np.random.Generator, lift: float) -> tuple[ab.Estimate, float]:
    (pre_t, t), (pre_c, c) = before_and_after(generator, USERS, lift), before_and_after(generator, USERS, 0.0)
    found = ab.estimate_cuped(t, c, pre_t, pre_c)
    return ab.estimate_difference(found.treatment, found.control), lift


def _quantile(generator: np.random.Generator, lift: float) -> tuple[ab.Estimate, float]:
    arms = before_and_after(generator, USERS, lift)[1], before_and_after(generator, USERS, 0.0)[1]
    return ab.estimate_lift(*(ab.quantile_of(arm, 0.25) for arm in arms)), lift


def _tail(generator: np.random.Generator, lift: float) -> tuple[ab.Estimate, float]:
    arms = before_and_after(generator, 4 * USERS, lift), before_and_after(generator, 4 * USERS, 0.0)
    threshold = ab.tail_threshold(np.concatenate([arm[0] for arm in arms]))
    return ab.estimate_lift(*(ab.mean_of(after[before <= threshold]) for before, after in arms)), lift


def bootstrap_trial(kind: str, num_users: int = USERS, replicates: int = 500) -> Trial:
    """A trial of the bootstrap of a lift; `kind`: per user, or per exposure as in exposures_and_watch."""

    def trial(generator: np.random.Generator, lift: float) -> tuple[ab.Estimate, float]:
        seed = int(generator.integers(1 << 31))
        if kind == "exposure":
            (t, of_t), (c, of_c) = (exposures_and_watch(generator, num_users, 2 * (1 + each)) for each in (lift, 0.0))
            return ab.estimate_by_bootstrap(t, c, (of_t, of_c), replicates, seed), lift
        arms = users(generator, num_users, 1 + lift), users(generator, num_users)
        return ab.estimate_by_bootstrap(*arms, replicates=replicates, seed=seed), lift

    return trial


FORMULAS: dict[str, Trial] = {
    "welch": _welch,
    "fieller_lift": _fieller,
    "delta_ratio": _ratio,
    "cuped": _cuped,
    "quantile": _quantile,
    "tail_users": _tail,
}


def false_positives(trial: Trial, runs: int, seed: int) -> ab.FalsePositives:
    """A/A runs of a trial."""
    generator = np.random.default_rng(seed)
    return ab.FalsePositives.of([trial(generator, 0.0)[0].p_value for _ in range(runs)])


def coverage(trial: Trial, runs: int, seed: int, lift: float = EFFECT) -> float:
    """Share of runs with this true lift whose interval holds the truth."""
    generator = np.random.default_rng(seed)
    held = [estimate.low <= truth <= estimate.high for estimate, truth in (trial(generator, lift) for _ in range(runs))]
    return float(np.mean(held))


def cuped_variance_ratio(rho: float, runs: int, seed: int, num_users: int = 250) -> float:
    """Variance over runs of CUPED's difference to that of the plain one, for normal outcomes of correlation `rho`."""
    generator = np.random.default_rng(seed)
    plain, adjusted = [], []
    for _ in range(runs):
        before = generator.normal(3, 2, (2, num_users))
        after = 1 + rho * (before - 3) / 2 + math.sqrt(1 - rho**2) * generator.normal(0, 1, (2, num_users))
        found = ab.estimate_cuped(after[0], after[1], before[0], before[1])
        plain.append(after[0].mean() - after[1].mean())
        adjusted.append(found.treatment.value - found.control.value)
    return float(np.var(adjusted) / np.var(plain))


@dataclass(frozen=True)
class Peeking:
    """Runs of a test that is looked at 20 times: shares of runs."""

    sequential_rejects: float  # at any look
    fixed_rejects: float  # at any look, by Welch's interval at each
    fixed_rejects_at_the_end: float
    covers: float  # the sequential interval holds the truth at every look
    mean_users: float  # of both arms when the sequential test stops, at the last look otherwise


def peek(
    runs: int, seed: int, effect: float = 0.0, tau: float | None = None, looks: int = 20, per_look: int = 200
) -> Peeking:
    """Looks after every `per_look` users of each arm with skewed outcomes of deviation 1; tau: the plan's MDE."""
    generator = np.random.default_rng(seed)
    sums_2RL, squares_2RL = np.empty((2, runs, looks)), np.empty((2, runs, looks))
    for run in range(runs):
        values = generator.standard_exponential((2, looks, per_look)) + np.array([effect, 0.0])[:, None, None]
        sums_2RL[:, run], squares_2RL[:, run] = values.sum(axis=-1), np.square(values).sum(axis=-1)
    seen_L = per_look * np.arange(1, looks + 1)
    means_2RL, squares_2RL = sums_2RL.cumsum(axis=-1) / seen_L, squares_2RL.cumsum(axis=-1) / seen_L
    variance_RL = ((squares_2RL - means_2RL**2) / (seen_L - 1)).sum(axis=0)
    difference_RL = means_2RL[0] - means_2RL[1]
    tau = tau or ab.mixing_deviation(ab.minimum_detectable_effect(1.0, int(seen_L[-1]), int(seen_L[-1])))
    found = ab.always_valid(difference_RL, variance_RL, tau)
    rejects_RL = found.p_value_L < ab.ALPHA
    stop_R = np.where(rejects_RL.any(axis=1), rejects_RL.argmax(axis=1), looks - 1)
    fixed_RL = np.abs(difference_RL) > 1.959964 * np.sqrt(variance_RL)
    return Peeking(
        sequential_rejects=float(rejects_RL[:, -1].mean()),
        fixed_rejects=float(fixed_RL.any(axis=1).mean()),
        fixed_rejects_at_the_end=float(fixed_RL[:, -1].mean()),
        covers=float(((found.low_L <= effect) & (effect <= found.high_L)).all(axis=1).mean()),
        mean_users=float(2 * seen_L[stop_R].mean()),
    )


def peek_at_returning_users(
    runs: int,
    seed: int,
    num_users: int = 300,
    periods: int = 20,
    share: float = 0.5,
    exposures: float = 3.0,
    min_users: int = planning.MIN_LOOK_USERS,
) -> tuple[float, float]:
    """A/A runs looked at after each period in which the same users come again: shares rejected by mSPRT, by Welch.

    `share` of the users are treated and have `exposures` a period on average; looks begin when each arm has `min_users`
    with watch time.
    """
    generator = np.random.default_rng(seed)
    sequential, fixed = 0, 0
    in_treatment = np.arange(num_users) < round(share * num_users)
    sizes = int(in_treatment.sum()), int((~in_treatment).sum())
    tau = ab.mixing_deviation(math.log1p(ab.minimum_detectable_effect(1.0, *sizes)))
    for _ in range(runs):
        exposures_LU = generator.poisson(exposures, (periods, num_users))
        taste_U = generator.gamma(2.0, 1.0, num_users)
        watch_LU = generator.gamma(2 * exposures_LU, taste_U / 2)  # of mean exposures * taste, skewed; 0 without one
        so_far_LU = watch_LU.cumsum(axis=0)
        looks = [look for look in range(periods) if planning.can_look(so_far_LU[look], in_treatment, min_users)]
        if not looks:
            continue
        sums_LU = [np.diff(of.cumsum(axis=0)[looks], axis=0, prepend=0.0) for of in (watch_LU, exposures_LU)]
        sequential += ab.trajectory_by_period(*sums_LU, in_treatment, tau).stopped_at is not None
        fixed += _welch_at_any_period(*sums_LU, in_treatment)
    return sequential / runs, fixed / runs


def _welch_at_any_period(watch_LU: np.ndarray, exposures_LU: np.ndarray, in_treatment: np.ndarray) -> bool:
    for watch_U, exposures_U in zip(watch_LU.cumsum(axis=0), exposures_LU.cumsum(axis=0)):
        arms = [ab.ratio_of(watch_U[arm], exposures_U[arm]) for arm in (in_treatment, ~in_treatment)]
        if ab.estimate_difference(*arms).p_value < ab.ALPHA:
            return True
    return False


def several_arms(runs: int, seed: int, real: int = 0, num_arms: int = 4) -> dict[str, float]:
    """`num_arms` arms of which `real` have a lift, against one control.

    Shares of runs in which an arm without one is significant (`any_*`), by correction, and the mean share of those
    among the significant (`fdr_*`).
    """
    generator = np.random.default_rng(seed)
    totals = dict.fromkeys(("any_none", "any_holm", "any_benjamini_hochberg", "fdr_benjamini_hochberg"), 0.0)
    for _ in range(runs):
        control = ab.mean_of(users(generator, USERS))
        lifts = [0.4] * real + [0.0] * (num_arms - real)
        arms = {str(i): ab.mean_of(users(generator, USERS, 1 + lift)) for i, lift in enumerate(lifts)}
        compared = ab.compare_arms_with_control(arms, control)
        p_values = [each.comparison.difference.p_value for each in compared]
        found = {"none": p_values, "holm": [each.p_corrected for each in compared]}
        found["benjamini_hochberg"] = ab.benjamini_hochberg(p_values)
        for name, corrected in found.items():
            totals[f"any_{name}"] += any(p < ab.ALPHA for p in corrected[real:])
        wrong, all_found = (sum(p < ab.ALPHA for p in found["benjamini_hochberg"][at:]) for at in (real, 0))
        totals["fdr_benjamini_hochberg"] += wrong / all_found if all_found else 0.0
    return {name: total / runs for name, total in totals.items()}


def guardrail_verdicts(runs: int, seed: int, lift: float, margin: float = 0.1) -> dict[str, float]:
    """Shares of verdicts on a mean per user whose true lift is `lift`."""
    generator = np.random.default_rng(seed)
    counts = dict.fromkeys(("pass", "harmed", "cannot tell"), 0)
    for _ in range(runs):
        arms = users(generator, 4 * USERS, 1 + lift), users(generator, 4 * USERS)
        counts[ab.check_guardrail("mean", *map(ab.mean_of, arms), margin).verdict] += 1
    return {name: count / runs for name, count in counts.items()}


def sample_ratio_alarms(runs: int, seed: int, num_users: int, treatment_share: float = 0.5) -> float:
    """Share of runs in which the check of a split in halves alarms, when treatment gets `treatment_share`."""
    counts = np.random.default_rng(seed).binomial(num_users, treatment_share, runs)
    return float(np.mean([ab.check_sample_ratio([int(c), num_users - int(c)]).alarm for c in counts]))
