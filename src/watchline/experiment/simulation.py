"""The run of a test: every arm ranks each session's candidates, users walk down them, the environment answers.

Sessions are run in chunks. A chunk depends on its number and on the seed, never on the process that runs it or on what
ran before, so one process and several give the same bytes, and memory is that of a chunk.
"""

# N sessions (one a request), C candidates each, P places of a session, R runs of the expectation

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from watchline.experiment.environments.base import Answers, Environment, Floats, Ints
from watchline.experiment.patience import Patience, Viewers
from watchline.experiment.policies import Policy, best_of
from watchline.experiment.sessions import Expectation, Walk, expect, walk
from watchline.experiment.streams import ANSWERS, CANDIDATES, EXPECTATION, EXPLORATION, stream
from watchline.experiment.totals import SessionTotals

CHUNK = 1000  # sessions

# Candidates of some requests with their feature columns, (n * C) rows by request.
Prepare = Callable[[pl.DataFrame, np.random.Generator], pl.DataFrame]


@dataclass(frozen=True)
class World:
    """All that a chunk of sessions needs besides its requests; goes to worker processes as it is.

    `prepare` draws candidates and joins their features; a session shows at most `pages` * `top_k` of them. `swept`:
    policies beside the arms, of which only the expected watch time of each session is computed, in `sweep_runs`.
    """

    arms: Mapping[str, Policy]
    environment: Environment
    patience: Patience
    prepare: Prepare
    top_k: int
    pages: int
    seed: int
    expectation_runs: int
    swept: Mapping[str, Policy] = field(default_factory=dict)
    sweep_runs: int = 1

    @property
    def places(self) -> int:
        """Exposures of a session at most."""
        return self.top_k * self.pages


@dataclass(frozen=True)
class ArmRun:
    """One arm over some sessions: what happened, what was to be expected, and its log of exposures."""

    totals: SessionTotals
    expectation: Expectation
    first_page_s: float  # sum over sessions of the expected watch time of the first page, seconds
    log: pl.DataFrame  # request_id, place, user_id, video_id, propensity, watch_time_s


@dataclass(frozen=True)
class Chunk:
    """Every arm over the same sessions; `chance_s` and `best_s` as `first_page_s`, by chance and at the best.

    swept: expected watch time of each session (n,), seconds, under each policy of the sweep.
    """

    arms: dict[str, ArmRun]
    chance_s: float
    best_s: float
    swept: dict[str, Floats]


@dataclass(frozen=True)
class Simulation:
    """Every arm's answers to every session, so that truth, A/A and headroom come from the run that the test is of.

    users (U,): ids, ascending; user_N: number of each session's user in `users`; day_N: its local day; page_s: expected
    watch time per exposure of first pages, seconds, of each arm, of chance ("random") and of the best possible choice
    ("best"); swept: expected watch time of each session (N,), seconds, under each policy of the sweep.
    """

    users: Ints
    user_N: Ints
    day_N: pl.Series
    totals: dict[str, SessionTotals]
    expectations: dict[str, Expectation]
    page_s: dict[str, float]
    log: pl.DataFrame  # with the arm
    swept: dict[str, Floats]


def run_chunk(world: World, number: int, requests: pl.DataFrame) -> Chunk:
    """Chunk `number`: its requests (n rows, with expected_s), every arm."""
    candidates = world.prepare(requests.drop("expected_s"), stream(world.seed, CANDIDATES, number))
    answers = world.environment.answer(candidates)
    viewers = Viewers.of(requests["user_id"].to_numpy(), requests["expected_s"].to_numpy(), world.patience, world.seed)
    mean_NC = answers.mean_s.reshape(len(requests), -1)
    arms = {
        arm: _run_arm(world, (number, position), policy, candidates, answers, viewers)
        for position, (arm, policy) in enumerate(world.arms.items())
    }
    best = mean_NC.ravel()[best_of(mean_NC, world.top_k)]
    swept = {name: _sweep(world, number, policy, candidates, answers, viewers) for name, policy in world.swept.items()}
    return Chunk(arms, world.top_k * float(mean_NC.mean(axis=1).sum()), float(best.sum()), swept)


def _sweep(
    world: World, number: int, policy: Policy, candidates: pl.DataFrame, answers: Answers, viewers: Viewers
) -> Floats:
    """Expected watch time of each session (n,), seconds; the same numbers are drawn for every policy."""
    rows_NP = best_of(policy.score(candidates, len(viewers.own_N)), world.places)
    generator = stream(world.seed, EXPECTATION, number)
    return expect(rows_NP, answers, viewers, world.patience, world.sweep_runs, generator).watch_s_N


def _run_arm(
    world: World,
    path: tuple[int, int],
    policy: Policy,
    candidates: pl.DataFrame,
    answers: Answers,
    viewers: Viewers,
) -> ArmRun:
    num_sessions = len(viewers.own_N)
    score_NC = policy.score(candidates, num_sessions)
    rows_NP, chance_NP = policy.rank(score_NC, world.places, stream(world.seed, EXPLORATION, *path))
    walked = walk(rows_NP, answers, viewers, world.patience, stream(world.seed, ANSWERS, *path))
    # The same numbers for every arm of the chunk: equal arms have no true lift at all.
    generator = stream(world.seed, EXPECTATION, path[0])
    expectation = expect(rows_NP, answers, viewers, world.patience, world.expectation_runs, generator)
    duration_s = candidates["duration_s"] if "duration_s" in candidates.columns else None
    return ArmRun(
        SessionTotals.of(walked, _at(duration_s, rows_NP)),
        expectation,
        float(answers.mean_s[rows_NP[:, : world.top_k]].sum()),
        _log(candidates, rows_NP, chance_NP, walked),
    )


def _at(duration_s: pl.Series | None, rows_NP: Ints) -> Floats:
    """Durations (N, P), seconds; NaN where unknown."""
    if duration_s is None:
        return np.full(rows_NP.shape, np.nan)
    return duration_s.cast(pl.Float64).fill_null(np.nan).to_numpy()[rows_NP]


def _log(candidates: pl.DataFrame, rows_NP: Ints, chance_NP: Floats, walked: Walk) -> pl.DataFrame:
    """What was shown, in order, with the chance that the policy had to show it there."""
    shown_NP = walked.is_shown_NP
    rows = candidates.select("request_id", "user_id", "video_id")[rows_NP[shown_NP]]
    return rows.with_columns(
        pl.Series("place", np.nonzero(shown_NP)[1]),
        pl.Series("propensity", chance_NP[shown_NP]),
        pl.Series("watch_time_s", walked.watch_s_NP[shown_NP]),
    )


def chunks_of(requests: pl.DataFrame, expected_s_N: Floats) -> Iterator[tuple[int, pl.DataFrame]]:
    """Numbered chunks of the requests with the watch time that their users expect (N,), seconds."""
    yield from enumerate(requests.with_columns(expected_s=pl.Series(expected_s_N)).iter_slices(CHUNK))


def collect(requests: pl.DataFrame, chunks: list[Chunk], world: World) -> Simulation:
    """All chunks, in order, as one simulation."""
    users, user_N = np.unique(requests["user_id"].to_numpy(), return_inverse=True)
    exposures = len(requests) * world.top_k
    runs = {arm: [chunk.arms[arm] for chunk in chunks] for arm in world.arms}
    page_s = {
        "random": sum(chunk.chance_s for chunk in chunks) / exposures,
        **{arm: sum(part.first_page_s for part in parts) / exposures for arm, parts in runs.items()},
        "best": sum(chunk.best_s for chunk in chunks) / exposures,
    }
    logs = [pl.concat([part.log for part in parts]).with_columns(arm=pl.lit(arm)) for arm, parts in runs.items()]
    return Simulation(
        users,
        user_N,
        requests["date"],
        {arm: SessionTotals.joined([part.totals for part in parts]) for arm, parts in runs.items()},
        {arm: Expectation.summed([part.expectation for part in parts]) for arm, parts in runs.items()},
        page_s,
        pl.concat(logs),
        {name: np.concatenate([chunk.swept[name] for chunk in chunks]) for name in world.swept},
    )
