"""When a user leaves: a law of patience that longer watching feeds and quick skips and passing time use up.

After the i-th exposure of a session, watched for y_i seconds by a user who expects e seconds of an exposure:

    mood_i = memory * mood_{i-1} + gain * log((1 + y_i) / (1 + e)) - skip_loss * [y_i is a quick skip],  mood_0 = 0
    P(the session goes on) = expit(stay_logit + own patience of the user - fatigue_per_minute * minutes so far + mood_i)

so that a ranking which is watched for longer is seen for longer, until time runs out, and a bad first page ends what
better pages would have followed. A session is a cascade (Craswell et al., WSDM 2008) whose perseverance (Chapelle &
Zhang, WWW 2009) depends on what was watched; mood is the temper of KuaiSim's users (Zhao et al., NeurIPS 2023), who
leave when it is used up, here with chance in place of a threshold. The numbers are assumptions: no public log says why
a session ended.
"""

# N sessions

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import expit, ndtri

from watchline.config import Config
from watchline.experiment.assignment import hash_uniform
from watchline.metrics import NEAR_ZERO_S

Floats = NDArray[np.float64]


class Patience(Config):
    """The law's parameters; log-odds are of staying after an exposure."""

    stay_logit: float = Field(default=2.0, description="log-odds of an average user after a play as long as expected")
    spread: float = Field(default=0.5, ge=0, description="standard deviation over users of their own log-odds")
    gain: float = Field(default=0.5, ge=0, description="log-odds per log unit of watch time over what is expected")
    skip_loss: float = Field(default=0.5, ge=0, description="log-odds that a quick skip costs")
    memory: float = Field(default=0.5, ge=0, lt=1, description="share of the mood that lasts to the next exposure")
    fatigue_per_minute: float = Field(default=0.1, ge=0, description="log-odds that a minute in the session costs")


@dataclass(frozen=True)
class Viewers:
    """The users of N sessions: their own log-odds of staying (N,) and the watch time they expect (N,), seconds."""

    own_N: Floats
    expected_s_N: Floats

    @classmethod
    def of(cls, user_id: NDArray[np.int64], expected_s: Floats, patience: Patience, seed: int) -> Viewers:
        """A user's own patience is normal with the law's spread, by a hash of the id: the same in every session."""
        chance = np.clip(hash_uniform(user_id, f"patience-{seed}"), 1e-12, 1 - 1e-12)
        return cls(patience.spread * ndtri(chance), expected_s)

    def take(self, rows: NDArray[np.int64]) -> Viewers:
        """Some of the sessions."""
        return Viewers(self.own_N[rows], self.expected_s_N[rows])


@dataclass(frozen=True)
class Temper:
    """Where N sessions stand: mood (N,) in log-odds, time in the session (N,) in seconds."""

    mood_N: Floats
    elapsed_s_N: Floats

    @classmethod
    def at_start(cls, num_sessions: int) -> Temper:
        """Neutral mood, no time spent."""
        return cls(np.zeros(num_sessions), np.zeros(num_sessions))

    def take(self, rows: NDArray[np.int64]) -> Temper:
        """Some of the sessions."""
        return Temper(self.mood_N[rows], self.elapsed_s_N[rows])

    def after(self, watch_s_N: Floats, viewers: Viewers, patience: Patience) -> tuple[Temper, Floats]:
        """Temper after an exposure watched for `watch_s_N` seconds, and the chance (N,) that the session goes on."""
        fed_N = patience.gain * (np.log1p(watch_s_N) - np.log1p(viewers.expected_s_N))
        mood_N = patience.memory * self.mood_N + fed_N - patience.skip_loss * (watch_s_N < NEAR_ZERO_S)
        elapsed_s_N = self.elapsed_s_N + watch_s_N
        logit_N = patience.stay_logit + viewers.own_N + mood_N - patience.fatigue_per_minute * elapsed_s_N / 60
        return Temper(mood_N, elapsed_s_N), expit(logit_N)
