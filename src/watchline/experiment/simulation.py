"""The run of a test: both arms rank all requests, the environment answers what each shows."""

# N requests, C candidates each, K of them shown, U users numbered from 0

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from watchline.experiment.analysis import UserTotals
from watchline.experiment.environments import Environment
from watchline.experiment.policies import Policy

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FIRST_STREAM = 3  # of the arms' answers; requests and candidates are drawn from streams 1 and 2 of the same seed


@dataclass(frozen=True)
class Simulation:
    """Every arm's answers to every request, so that truth, A/A and headroom come from the run that the test is of.

    user_N: number of each request's user in `users` (U,); shown: of each arm the rows of the candidate table (N, K);
    answers: of each arm the drawn watch times (N, K); mean_NC: expected watch time of every candidate. Seconds.
    """

    users: Ints
    user_N: Ints
    shown: Mapping[str, Ints]
    answers: Mapping[str, Floats]
    mean_NC: Floats

    def totals(self, arm: str) -> UserTotals:
        """Per-user totals had every user been in `arm`."""
        return UserTotals.of(self.answers[arm], self.user_N, len(self.users))

    def expected(self, arm: str) -> Floats:
        """Expected watch time (N, K) of what `arm` shows."""
        return self.mean_NC.ravel()[self.shown[arm]]


def simulate(
    candidates: pl.DataFrame,
    num_requests: int,
    arms: Mapping[str, Policy],
    environment: Environment,
    top_k: int,
    seed: int,
    progress: Callable[[str], None] = print,
) -> Simulation:
    """Run `arms` on the candidate table, (N * C) rows by request with user_id and the feature columns.

    The same seed gives the same answers; each arm has a random stream of its own.
    """
    shown, answers = {}, {}
    for stream, (arm, policy) in enumerate(arms.items(), start=_FIRST_STREAM):
        shown[arm] = policy.show(candidates, num_requests, top_k)
        progress(f"{arm}: {policy.name} ranked {len(candidates):,} candidates by {policy.statistic}")
        exposures = candidates[shown[arm].ravel()]
        answers[arm] = environment.sample(exposures, np.random.default_rng([seed, stream])).reshape(shown[arm].shape)
    size = len(candidates) // num_requests
    users, user_N = np.unique(candidates["user_id"].to_numpy()[::size], return_inverse=True)
    mean_NC = environment.mean_watch_time_s(candidates).reshape(num_requests, size)
    return Simulation(users, user_N, shown, answers, mean_NC)
