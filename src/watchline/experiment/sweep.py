"""Offline against online: models of different quality, trained and damaged, each with its metrics and expected lift.

Every model ranks the same candidates of the same sessions as the arms do. Its lift is that of the expected watch time
of all sessions over the control model's, so every user sees every model, which only a simulation can do.
"""

# B eval rows, N sessions, U users of the eval rows, M models, R draws of users

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from watchline.experiment.damaged import damaged_models
from watchline.experiment.group_model import POINTS
from watchline.experiment.offline_online import METRICS, Draws, correlate, find_missed
from watchline.experiment.plain import number
from watchline.experiment.policies import Policy
from watchline.experiment.remembering import RememberingModel
from watchline.metrics import bootstrap_of_seeds, bootstrap_totals
from watchline.models.base import WatchTimeModel

REPLICATES = 500
# What a metric is computed from, as in the evaluation; the order is judged by what is ranked by.
STATISTIC_OF = {"mae_s": "median", "rmse_s": "mean", "calibration": "mean"}


@dataclass(frozen=True)
class Entry:
    """A model of the sweep: how it ranks, whether the line trained it, and what it is in a few words."""

    policy: Policy
    is_trained: bool
    describes: str


@dataclass(frozen=True)
class Sweep:
    """The models of a sweep by name; `control` names the one that lifts are over."""

    entries: dict[str, Entry]
    control: str

    @property
    def policies(self) -> dict[str, Policy]:
        """What the simulation runs beside the arms."""
        return {name: entry.policy for name, entry in self.entries.items()}

    @property
    def statistic(self) -> str:
        """What all of them rank by."""
        return self.entries[self.control].policy.statistic


def plan_sweep(
    trained: Mapping[str, RememberingModel], control: str, statistic: str, train: pl.DataFrame, label: str
) -> Sweep:
    """The trained models, and damaged ones of the control; all rank by `statistic` or, unless a point, by the mean.

    `train`: training rows with video_id, surface, `label` and, where there is one, duration_s.
    """
    ranked_by = statistic if statistic in POINTS else "mean"

    def entry(name: str, model: WatchTimeModel, is_trained: bool, describes: str) -> Entry:
        return Entry(Policy(name, model, ranked_by), is_trained, describes)

    entries = {name: entry(name, model, True, "trained by the line") for name, model in trained.items()}
    for name, model in damaged_models(trained[control], train, label).items():
        entries[name] = entry(name, model, False, model.describes)
    return Sweep(entries, control)


def measure_sweep(
    sweep: Sweep, table: pl.DataFrame, label: str, swept: Mapping[str, NDArray[np.float64]], user_N: NDArray[Any]
) -> dict[str, Any]:
    """Offline metrics on `table`, the eval rows with `label`; lifts from the simulation's `swept` (N,), seconds.

    `user_N`: the user of each session. All intervals are of the same R draws of the users of `table`, with their rows
    and their sessions, at 95 %; the models are fixed. Raises ValueError for a session whose user has no row.
    """
    names = list(sweep.entries)
    offline = offline_draws(sweep, table, label)
    online = lift_draws([swept[name] for name in names], names.index(sweep.control), user_N, table["user_id"])
    low_M, high_M = np.percentile(online.draws_RM, [2.5, 97.5], axis=0)
    models = []
    for place, (name, entry) in enumerate(sweep.entries.items()):
        metrics = {metric: number(offline[metric].value_M[place]) for metric in METRICS}
        lift = {"lift": online.value_M[place], "low": low_M[place], "high": high_M[place]}
        lift = {key: number(value) for key, value in lift.items()}
        kind = "trained" if entry.is_trained else "damaged"
        models.append({"model": name, "kind": kind, "what": entry.describes, **metrics, **lift})
    return {
        "control": sweep.control,
        "statistic": sweep.statistic,
        "replicates": REPLICATES,
        "rows": len(table),
        "models": models,
        "rank_correlation": [correlate(metric, offline[metric], online) for metric in METRICS],
        "missed": [find_missed(metric, names, offline[metric], online) for metric in METRICS],
    }


def offline_draws(sweep: Sweep, table: pl.DataFrame, label: str) -> dict[str, Draws]:
    """Each of METRICS for each model, on the rows and on each draw of their users."""
    asked = {}
    for name, entry in sweep.entries.items():
        found = entry.policy.model.predict(table, POINTS)
        for metric in METRICS:
            asked[metric, name] = (metric, [found[STATISTIC_OF.get(metric, sweep.statistic)]])
    drawn = bootstrap_of_seeds(table[label].to_numpy(), asked, table["user_id"].to_numpy(), REPLICATES)
    return {
        metric: Draws(
            np.array([drawn[metric, name].value for name in sweep.entries]),
            np.stack([drawn[metric, name].draws_R for name in sweep.entries], axis=1),
        )
        for metric in METRICS
    }


def lift_draws(
    watch_s_MN: Sequence[NDArray[np.float64]], control: int, user_N: NDArray[Any], user_B: pl.Series
) -> Draws:
    """Lift of each model over number `control`: sum over sessions of the expected watch time, over its sum, minus 1.

    The draws are of the users of the eval rows `user_B`, the very ones that the offline metrics have
    (bootstrap by cluster: Davison & Hinkley, 1997, chapter 3). Raises ValueError for a session of any other user.
    """
    users = np.unique(user_B.to_numpy())
    index_N = np.searchsorted(users, user_N)
    unknown = int((users[np.minimum(index_N, len(users) - 1)] != user_N).sum())
    if unknown:
        raise ValueError(f"{unknown} of {len(user_N)} sessions are of users without a row on the eval days")
    sums_MU = [np.bincount(index_N, watch_s, minlength=len(users)).astype(np.float64) for watch_s in watch_s_MN]
    sums_UM = np.stack(sums_MU, axis=1)
    totals_RM, total_M = bootstrap_totals(sums_UM, REPLICATES, 0), sums_UM.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw of users who watch nothing has no lift
        return Draws(total_M / total_M[control] - 1, totals_RM / totals_RM[:, [control]] - 1)
