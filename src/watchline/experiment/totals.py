"""What sessions came to, and the sums of each user, which are what statistics take."""

# N sessions, P places of a session, U users

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from watchline.experiment.environments.base import Floats
from watchline.experiment.sessions import Walk
from watchline.experiment.statistics import UserOutcomes
from watchline.metrics import NEAR_ZERO_S


@dataclass(frozen=True)
class SessionTotals:
    """Each session (N,): watch time in seconds, exposures, quick skips (under NEAR_ZERO_S), completions.

    A completion is a play at least as long as the video; where the duration is unknown there is none.
    """

    watch_s: Floats
    exposures: Floats
    skips: Floats
    completions: Floats

    @classmethod
    def of(cls, walked: Walk, duration_s_NP: Floats) -> SessionTotals:
        """Count one walk; `duration_s_NP` in seconds, NaN where unknown. Places not shown have no watch time (NaN)."""
        watch_s_NP = walked.watch_s_NP
        return cls(
            np.nansum(watch_s_NP, axis=1),
            walked.length_N.astype(np.float64),
            (watch_s_NP < NEAR_ZERO_S).sum(axis=1).astype(np.float64),
            (watch_s_NP >= duration_s_NP).sum(axis=1).astype(np.float64),
        )

    @classmethod
    def joined(cls, parts: Sequence[SessionTotals]) -> SessionTotals:
        """The sessions of all parts, in order."""
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def outcomes_of(totals: SessionTotals, user_N: NDArray[np.int64], num_users: int, pre_watch_s: Floats) -> UserOutcomes:
    """Each user's sums over sessions (U,), and the watch time from before the test (U,), seconds.

    `user_N` numbers the users from 0.
    """

    def total(values_N: Floats) -> Floats:
        return np.bincount(user_N, values_N, minlength=num_users).astype(np.float64)

    return UserOutcomes(
        watch_s=total(totals.watch_s),
        exposures=total(totals.exposures),
        completions=total(totals.completions),
        skips=total(totals.skips),
        sessions=total(np.ones(len(user_N))),
        pre_watch_s=pre_watch_s,
    )
