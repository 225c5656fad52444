"""Every test rejects at its level where nothing is to be found, and every interval holds the truth at its rate.

The simulations are those whose longer runs docs/ab_statistics.md reports.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.ab_simulations import (
    FORMULAS,
    bootstrap_trial,
    coverage,
    cuped_variance_ratio,
    exposures_and_watch,
    false_positives,
    guardrail_verdicts,
    several_arms,
    users,
)
from watchline.experiment import statistics as ab

RUNS = 1000
# Coverage is held to 95 % -+ 1 point: 2 standard errors of this many runs; docs/ab_statistics.md has 10,000.
COVERAGE_RUNS = 2000
SMALL_BOOTSTRAPS = {kind: bootstrap_trial(kind, 150, 200) for kind in ("user", "exposure")}


def band(rate: float, runs: int = RUNS) -> tuple[float, float]:
    """What an event of this rate gives in `runs` runs with 99 % probability."""
    low, high = stats.binom.ppf([0.005, 0.995], runs, rate) / runs
    return float(low), float(high)


@pytest.mark.parametrize("name", FORMULAS)
def test_false_positives_of_each_formula_are_within_the_binomial_band(name):
    found = false_positives(FORMULAS[name], RUNS, seed=1)
    assert (found.low, found.high) == band(0.05) and found.runs == RUNS
    assert found.low <= found.rate <= found.high


@pytest.mark.parametrize("kind", SMALL_BOOTSTRAPS)
def test_false_positives_of_each_bootstrap_are_within_the_binomial_band(kind):
    found = false_positives(SMALL_BOOTSTRAPS[kind], RUNS, seed=1)
    assert found.low <= found.rate <= found.high


@pytest.mark.parametrize("name", [name for name in FORMULAS if name != "tail_users"])
def test_intervals_of_each_formula_cover_at_94_to_96_percent(name):
    assert 0.94 <= coverage(FORMULAS[name], COVERAGE_RUNS, seed=2) <= 0.96


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_variance_with_cuped_is_one_minus_rho_squared(rho):
    # The standard error of a ratio of variances with correlation^2 = 1 - rho^2 is about 2 rho (1 - rho^2) / sqrt(runs).
    assert cuped_variance_ratio(rho, RUNS, seed=3) == pytest.approx(1 - rho**2, abs=0.01 + 0.1 * rho * (1 - rho**2))


def test_exposures_as_units_would_not_cover():
    """What the delta method is for: the same data with exposures taken for independent."""
    generator, misses = np.random.default_rng(4), 0
    for _ in range(200):
        watch, exposures = exposures_and_watch(generator, 400, 2.0)
        per_exposure = np.repeat(watch / exposures, exposures)
        misses += abs(per_exposure.mean() - 2.0) > 1.96 * per_exposure.std() / np.sqrt(len(per_exposure))
    assert misses / 200 > 0.3


@pytest.mark.parametrize("real", [0, 2])
def test_several_arms_are_wrong_at_the_level_with_correction_and_far_more_often_without(real):
    found = several_arms(RUNS, seed=5, real=real)
    assert found["any_holm"] <= band(0.05)[1]
    assert found["fdr_benjamini_hochberg"] <= band(0.05)[1]
    if not real:
        assert found["any_none"] > 2 * 0.05


def test_a_guardrail_is_called_harmed_or_passed_wrongly_at_half_the_level():
    unharmed = guardrail_verdicts(RUNS, seed=6, lift=0.0)
    assert unharmed["harmed"] <= band(0.025)[1] and unharmed["pass"] > 0.5
    at_margin = guardrail_verdicts(RUNS, seed=7, lift=-0.1, margin=0.1)
    assert at_margin["pass"] <= band(0.025)[1] and at_margin["harmed"] > 0.5


def test_a_rate_outside_its_band_shows():
    """The check of the checks: standard errors a quarter too small are found out in as many runs."""

    def overconfident(generator, lift):
        arms = [ab.mean_of(users(generator, 400, 1 + each)) for each in (lift, 0.0)]
        narrow = [ab.Mean(mean.value, 0.5625 * mean.variance, mean.freedom) for mean in arms]
        return ab.estimate_difference(*narrow), lift

    found = false_positives(overconfident, RUNS, seed=8)
    assert found.rate > found.high
