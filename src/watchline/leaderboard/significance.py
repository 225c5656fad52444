"""What differences between models are worth: paired bootstrap by user, corrected for how many are looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from watchline.evaluation.measure import STATISTIC
from watchline.experiment.statistics import ALPHA, holm
from watchline.leaderboard.plan import Plan
from watchline.leaderboard.runs import SeedRun
from watchline.metrics import Floats, Replicates, bootstrap_of_seeds

COMPARED = ("mae_s", "rmse_s", "xauc", "gauc")

Draws = dict[tuple[str, str], Replicates]  # model, metric -> the metric over the draws of users


@dataclass(frozen=True)
class Comparison:
    """Model minus reference in one metric: 95 % interval, p-value of "no difference", and the same after Holm."""

    model: str
    reference: str
    metric: str
    value: float
    low: float
    high: float
    p_value: float
    p_corrected: float

    @property
    def is_significant(self) -> bool:
        """Whether the corrected p-value is below ALPHA."""
        return self.p_corrected < ALPHA


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
    """Every model against the reference of each metric; Holm's correction is over all comparisons of the list.

    `references`: metric -> model. Intervals are not corrected: each holds its own difference with 95 %.
    Raises ValueError where there are too few draws for any corrected p to be below ALPHA.
    """
    pairs = [
        (model, references[metric], metric)
        for model, metric in draws
        if metric in references and references[metric] != model and (references[metric], metric) in draws
    ]
    differences = [draws[model, metric].draws_R - draws[other, metric].draws_R for model, other, metric in pairs]
    _check_enough_draws(differences)
    p_values = [p_value(difference_R) for difference_R in differences]
    found = []
    for (model, other, metric), difference_R, p, corrected in zip(pairs, differences, p_values, holm(p_values)):
        low, high = np.percentile(difference_R, [2.5, 97.5])
        value = draws[model, metric].value - draws[other, metric].value
        found.append(Comparison(model, other, metric, value, float(low), float(high), p, corrected))
    return found


def _check_enough_draws(differences: Sequence[Floats]) -> None:
    """The least p-value of R draws, times the number of comparisons, must be below ALPHA, or nothing could be found."""
    least = 2 * len(differences) / ALPHA
    if differences and len(differences[0]) + 1 <= least:
        raise ValueError(
            f"replicates: {len(differences[0])} draws leave no corrected p of {len(differences)} comparisons below "
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
