"""What differences between models are worth: paired bootstrap by user, corrected for how many are looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from watchline.evaluation.measure import STATISTIC
from watchline.experiment.statistics import ALPHA, holm
from watchline.leaderboard.plan import Plan
from watchline.leaderboard.runs import SeedRun
from watchline.metrics import Floats, Replicates, bootstrap_of_seeds, interval_of_draws

COMPARED = ("mae_s", "rmse_s", "xauc", "gauc")

Draws = dict[tuple[str, str], Replicates]  # model, metric -> the metric over the draws of users


@dataclass(frozen=True)
class Comparison:
    """Model minus reference in one metric: 95 % interval, p-value of "no difference", and the same after Holm.

    All four are None where there are too few users to tell (`watchline.metrics.interval_of_draws`).
    """

    model: str
    reference: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    p_corrected: float | None = None

    @property
    def is_significant(self) -> bool:
        """Whether the corrected p-value is below ALPHA."""
        return self.p_corrected is not None and self.p_corrected < ALPHA


def draw(runs: Sequence[SeedRun], models: Sequence[str], plan: Plan) -> Draws:
    """The models' COMPARED metrics over the same draws of users; the seeds' rows are averaged before users are drawn.

    A metric that is not defined on these rows (no user with two different labels, say) is left out.
    """
    first = runs[0].evaluation
    asked = {}
    for name in models:
        of_model = [run.evaluation for run in runs if name in run.metrics]
        for metric in COMPARED:
            if of_model[0].metric(metric, name) is not None:
                asked[name, metric] = metric, [each.predictions[name][STATISTIC[metric]] for each in of_model]
    return bootstrap_of_seeds(first.label, asked, first.user, plan.replicates, plan.bootstrap_seed)


def compare(draws: Draws, references: Mapping[str, str]) -> list[Comparison]:
    """Every model against the reference of each metric; Holm's correction is over all comparisons that have a p.

    `references`: metric -> model. Intervals are not corrected: each holds its own difference with 95 %.
    Raises ValueError where there are too few draws for any corrected p to be below ALPHA.
    """
    pairs = [
        (model, references[metric], metric)
        for model, metric in draws
        if metric in references and references[metric] != model and (references[metric], metric) in draws
    ]
    found = [_compare_two(draws, *pair) for pair in pairs]
    p_values = [each.p_value for each in found if each.p_value is not None]
    if pairs:
        _check_enough_draws(len(draws[pairs[0][0], pairs[0][2]].draws_R), len(p_values))
    corrected = iter(holm(p_values))
    return [each if each.p_value is None else replace(each, p_corrected=next(corrected)) for each in found]


def _compare_two(draws: Draws, model: str, reference: str, metric: str) -> Comparison:
    """One comparison, not yet corrected."""
    first, second = draws[model, metric], draws[reference, metric]
    difference_R = first.draws_R - second.draws_R
    low, high = interval_of_draws(difference_R, min(first.num_users, second.num_users))
    value = first.value - second.value
    if math.isnan(low):
        return Comparison(model, reference, metric, value)
    return Comparison(model, reference, metric, value, low, high, p_value(difference_R))


def _check_enough_draws(num_draws: int, num_comparisons: int) -> None:
    """The least p-value of the draws, times the number of comparisons, must be below ALPHA, or nothing is found."""
    least = 2 * num_comparisons / ALPHA
    if num_draws + 1 <= least:
        raise ValueError(
            f"replicates: {num_draws} draws leave no corrected p of {num_comparisons} comparisons below "
            f"{ALPHA}; ask for at least {2 * least:.0f}"
        )


def p_value(difference_R: Floats) -> float:
    """Two-sided p-value of "no difference" from R draws: 2 (1 + draws on the rarer side of 0) / (R + 1), at most 1.

    It is the level at which the percentile interval of `difference_R` begins to hold 0; the 1 keeps it above 0, so with
    R draws none is below 2 / (R + 1). Draws of exactly 0 count for both sides. Reference: Davison & Hinkley (1997),
    chapter 4 and section 5.4.
    """
    rarer = min(np.count_nonzero(difference_R <= 0), np.count_nonzero(difference_R >= 0))
    return min(1.0, 2 * (1 + int(rarer)) / (len(difference_R) + 1))
