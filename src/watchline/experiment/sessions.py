"""Sessions: users walk down what an arm ranked, page by page, until their patience ends; and what to expect of that."""

# N sessions, P places of a session at most (pages * top k), R runs

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from watchline.experiment.environments.base import Answers, Floats, Ints
from watchline.experiment.patience import Patience, Temper, Viewers


@dataclass(frozen=True)
class Walk:
    """What happened: watch time of each place (N, P), seconds, NaN where the session had ended; lengths (N,)."""

    watch_s_NP: Floats
    length_N: Ints

    @property
    def is_shown_NP(self) -> NDArray[np.bool_]:
        """Which places were shown and watched."""
        return np.arange(self.watch_s_NP.shape[1]) < self.length_N[:, None]


@dataclass(frozen=True)
class Expectation:
    """Sums over all sessions, one per run (R,): expected watch time in seconds, expected exposures."""

    watch_s_R: Floats
    exposures_R: Floats

    @classmethod
    def summed(cls, parts: Sequence[Expectation]) -> Expectation:
        """The expectation of all parts together, run by run, which are independent of each other."""
        watch_s_R, exposures_R = (np.sum([getattr(part, name) for part in parts], axis=0) for name in vars(parts[0]))
        return cls(watch_s_R, exposures_R)


def walk(rows_NP: Ints, answers: Answers, viewers: Viewers, patience: Patience, generator: np.random.Generator) -> Walk:
    """All live sessions watch their next place at once, round after round, until none is live or places end.

    `rows_NP`: the rows of `answers` that each session would show, in order.
    """
    num_sessions, places = rows_NP.shape
    watch_s_NP, length_N = np.full((num_sessions, places), np.nan), np.zeros(num_sessions, np.int64)
    live, temper = np.arange(num_sessions), Temper.at_start(num_sessions)
    for place in range(places):
        watch_s = answers.draw(rows_NP[live, place], generator)
        watch_s_NP[live, place] = watch_s
        length_N[live] = place + 1
        temper, chance = temper.after(watch_s, viewers.take(live), patience)
        stays = np.flatnonzero(generator.random(len(live)) < chance)
        live, temper = live[stays], temper.take(stays)
        if not len(live):
            break
    return Walk(watch_s_NP, length_N)


def expect(
    rows_NP: Ints, answers: Answers, viewers: Viewers, patience: Patience, runs: int, generator: np.random.Generator
) -> Expectation:
    """Unbiased estimates of the expected watch time and exposures of all sessions together, `runs` of them.

    E[watch] = E[sum_i m_i prod_{j<i} s_j], m_i the environment's expectation at place i, s_j the chance to stay after
    place j given drawn answers up to j: an answer is independent of those before it, so its mean stands for it, and the
    chance to be there stands for being there (Rao-Blackwell), which leaves little to chance. The same generator state
    gives two arms the same random numbers, so that equal arms are exactly equal.
    """
    num_sessions, places = rows_NP.shape
    mean_s_NP = answers.mean_s[rows_NP]
    watch_s_R, exposures_R = np.zeros(runs), np.zeros(runs)
    for run in range(runs):
        drawn_NP = answers.draw(rows_NP, generator)
        reached_N, temper = np.ones(num_sessions), Temper.at_start(num_sessions)
        for place in range(places):
            watch_s_R[run] += float(reached_N @ mean_s_NP[:, place])
            exposures_R[run] += float(reached_N.sum())
            temper, chance_N = temper.after(drawn_NP[:, place], viewers, patience)
            reached_N = reached_N * chance_N
    return Expectation(watch_s_R, exposures_R)
