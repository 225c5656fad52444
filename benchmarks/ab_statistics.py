"""Measured error rates of the statistics of docs/ab_statistics.md, on simulated tests whose truth is known.

    python benchmarks/ab_statistics.py [--quick]

False-positive rates are of A/A runs at the level of 5 %, coverages of 95 % intervals where a true lift of 10 % is
planted; a coverage of 94 to 96 % is held as its distance from 95. The last line is one JSON object: figure -> value,
target, unit, better.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(root), str(root / "src")]

from benchmarks import ab_simulations as sim
from benchmarks import off_policy_simulations as off
from benchmarks.figures import Figure, report
from watchline.experiment import statistics as ab

Figures = dict[str, Figure]
PERCENT = 100.0


def _rate(share: float, target: float | None = None, better: str = "lower") -> Figure:
    return Figure(PERCENT * share, target, "%", better)


def errors_of(name: str, trial: sim.Trial, runs: int) -> Figures:
    """False positives and coverage of one statistic."""
    covered = sim.coverage(trial, runs, seed=12)
    return {
        f"{name}, false positives": _rate(sim.false_positives(trial, runs, seed=11).rate, 6.0),
        f"{name}, coverage": _rate(covered, None, "higher"),
        f"{name}, coverage from 95": Figure(abs(PERCENT * covered - 95), 1.0, "points", "lower"),
    }


def cuped(runs: int) -> Figures:
    """Variance left by CUPED over 1 - rho^2."""
    return {
        f"CUPED, variance over 1 - rho^2, rho {rho}": Figure(
            sim.cuped_variance_ratio(rho, runs, seed=13) / (1 - rho**2), 1.05, "", "lower"
        )
        for rho in (0.0, 0.5, 0.9)
    }


def peeking(runs: int) -> Figures:
    """The sequential test beside Welch's, at 20 looks."""
    same = sim.peek(runs, seed=14)
    planned = ab.minimum_detectable_effect(1.0, 4000, 4000)
    figures = {
        "mSPRT at 20 looks, false positives": _rate(same.sequential_rejects, 5.0),
        "Welch at 20 looks, false positives": _rate(same.fixed_rejects),
        "Welch at the last look only, false positives": _rate(same.fixed_rejects_at_the_end, 6.0),
    }
    for times in (1, 1.5, 2):
        found = sim.peek(runs, seed=15, effect=times * planned)
        figures |= {
            f"mSPRT, effect {times} MDE, found": _rate(found.sequential_rejects, None, "higher"),
            f"Welch at the end, effect {times} MDE, found": _rate(found.fixed_rejects_at_the_end, None, "higher"),
            f"mSPRT, effect {times} MDE, users used": _rate(found.mean_users / 8000),
            f"mSPRT, effect {times} MDE, holds it at every look": _rate(found.covers, 95.0, "higher"),
        }
    return figures


def returning(runs: int) -> Figures:
    """The same at 20 periods in which the same users come back."""
    figures: Figures = {}
    for name, arms in (("", {}), (", treatment 5 %", {"num_users": 1200, "share": 0.05, "exposures": 0.06})):
        sequential, fixed = sim.peek_at_returning_users(runs, seed=16, **arms)
        figures |= {
            f"mSPRT, returning users{name}, 20 periods, false positives": _rate(sequential, 5.0),
            f"Welch, returning users{name}, 20 periods, false positives": _rate(fixed),
        }
    return figures


def several_arms(runs: int) -> Figures:
    """Four arms against a control."""
    none, some = sim.several_arms(runs, seed=17), sim.several_arms(runs, seed=18, real=2)
    return {
        "4 arms, none real, any wrong, uncorrected": _rate(none["any_none"]),
        "4 arms, none real, any wrong, Holm": _rate(none["any_holm"], 6.0),
        "4 arms, two real, any wrong, Holm": _rate(some["any_holm"], 6.0),
        "4 arms, two real, share wrong, Benjamini-Hochberg": _rate(some["fdr_benjamini_hochberg"], 6.0),
    }


def guardrails(runs: int) -> Figures:
    """Verdicts at no loss, at a loss of the margin, and beyond."""
    same, at_margin, beyond = (sim.guardrail_verdicts(runs, 19, lift) for lift in (0.0, -0.1, -0.2))
    return {
        "guardrail, no loss, harmed": _rate(same["harmed"], 3.0),
        "guardrail, no loss, pass": _rate(same["pass"], None, "higher"),
        "guardrail, loss of the margin, pass": _rate(at_margin["pass"], 3.0),
        "guardrail, loss of the margin, harmed": _rate(at_margin["harmed"], None, "higher"),
        "guardrail, loss of twice the margin, harmed": _rate(beyond["harmed"], None, "higher"),
    }


def sample_ratio(runs: int) -> Figures:
    """Alarms of the check of the split."""
    one_point = ab.users_to_see_imbalance([0.495, 0.505])
    figures = {
        "SRM, right split, alarms": _rate(sim.sample_ratio_alarms(10 * runs, 20, one_point), 0.2),
        "SRM, users for 49.5 against 50.5 %, power 80 %": Figure(one_point, None, "users"),
        "SRM, alarms there": _rate(sim.sample_ratio_alarms(runs, 21, one_point, 0.495), 78.0, "higher"),
    }
    wider = ab.users_to_see_imbalance([0.4975, 0.5025])
    return figures | {
        "SRM, users for 49.75 against 50.25 %, power 80 %": Figure(wider, None, "users"),
        "SRM, alarms with those": _rate(sim.sample_ratio_alarms(runs, 22, wider, 0.4975), 78.0, "higher"),
    }


def off_policy(runs: int, num_users: int) -> Figures:
    """Bias, deviation and coverage on logs of the generator's law with known propensities."""
    figures: Figures = {}
    for name, found in off.errors(off.World.draw(), runs, seed=23, num_users=num_users).items():
        at = f"{name}, {4 * num_users} rows"
        unbiased = name in ("ips", "doubly_robust")
        figures |= {
            f"{at}, bias in standard errors": Figure(
                abs(found.bias) / found.bias_error, 3.0 if unbiased else None, "", "lower"
            ),
            f"{at}, bias": Figure(PERCENT * found.bias, None, "%", "lower"),
            f"{at}, deviation": Figure(PERCENT * found.deviation, None, "%", "lower"),
            f"{at}, coverage": _rate(found.coverage, None, "higher"),
        }
    return figures


def parts(runs: int) -> Iterator[Callable[[], Figures]]:
    """What is measured, `runs` runs each where a run is cheap."""
    for name, trial in sim.FORMULAS.items():
        yield partial(errors_of, name, trial, runs)
    for kind in ("user", "exposure"):
        yield partial(errors_of, f"bootstrap per {kind}", sim.bootstrap_trial(kind), runs // 5)
    yield partial(cuped, runs)
    yield partial(peeking, runs // 2)
    yield partial(returning, runs // 10)
    yield partial(several_arms, runs // 4)
    yield partial(guardrails, runs // 2)
    yield partial(sample_ratio, runs // 2)
    for num_users in (100, 300, 1000, 3000):
        yield partial(off_policy, runs // 10, num_users)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the runs")
    report(parts(1000 if parser.parse_args().quick else 10_000))
