"""Logs of a policy with known propensities on the generator's law, where the value of any other policy is known."""

# U users with P contexts each, A actions; R runs of G drawn users, so N = G P rows a run

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from watchline.data.synthetic.config import SyntheticConfig
from watchline.data.synthetic.law import Law
from watchline.data.synthetic.population import draw_population
from watchline.data.synthetic.source import build_law
from watchline.experiment.logged import Log
from watchline.experiment.off_policy import PolicyValue, compare_policies, doubly_robust, ips, replay, snips

ACTIONS, CONTEXTS = 8, 4  # candidates of a context, contexts of a user


def softmax(score: np.ndarray) -> np.ndarray:
    """Chances of the last axis' actions."""
    exponential = np.exp(score - score.max(axis=-1, keepdims=True))
    return exponential / exponential.sum(axis=-1, keepdims=True)


@dataclass(frozen=True)
class World:
    """Contexts of users with their candidates, the law's means, and the chances of two policies; (U, P, A)."""

    law: Law
    user_U: np.ndarray
    video_UPA: np.ndarray
    surface_UP: np.ndarray
    time_UP: np.ndarray
    mean_UPA: np.ndarray
    logging_UPA: np.ndarray
    target_UPA: np.ndarray
    model_UPA: np.ndarray  # a reward model: the law's means with errors of a factor

    @classmethod
    def draw(cls, num_users: int = 400, seed: int = 0, uniform: bool = False) -> World:
        """Users and videos of a small generated log; the target likes what is watched longer, the logger does not know.

        `uniform`: the logging policy is uniform and the target shows one action for certain.
        """
        config = SyntheticConfig(
            source="synthetic", path="", seed=seed, first_day=date(2024, 3, 1), days=4, exposures=20_000
        )
        law, generator = build_law(config, draw_population(config)), np.random.default_rng([seed, 1])
        shape = (min(num_users, len(law.users)), CONTEXTS)
        user_U = generator.permutation(len(law.users))[: shape[0]]
        video_UPA = generator.integers(0, len(law.videos), (*shape, ACTIONS))
        surface_UP = generator.integers(0, len(law.parameters.share_S), shape)
        time_UP = np.datetime64("2024-03-02", "us") + generator.integers(0, 172_800, shape) * np.timedelta64(1, "s")
        rows = np.broadcast_arrays(user_U[:, None, None], video_UPA, surface_UP[..., None], time_UP[..., None])
        mean_UPA = law.mean_watch_time_s(*(each.ravel() for each in rows)).reshape(video_UPA.shape)
        noise = generator.normal(size=(3, *video_UPA.shape))
        logging_UPA = np.full(mean_UPA.shape, 1 / ACTIONS) if uniform else softmax(0.7 * noise[0])
        score_UPA = np.log(mean_UPA) + 0.3 * noise[1]
        best_UPA = (score_UPA == score_UPA.max(axis=-1, keepdims=True)).astype(np.float64)
        target_UPA = best_UPA if uniform else softmax(1.5 * score_UPA)
        model_UPA = mean_UPA * np.exp(0.3 * noise[2])
        return cls(law, user_U, video_UPA, surface_UP, time_UP, mean_UPA, logging_UPA, target_UPA, model_UPA)

    def value(self, chances_UPA: np.ndarray) -> float:
        """True mean reward per choice of a policy."""
        return float((chances_UPA * self.mean_UPA).sum(axis=-1).mean())

    def log(self, num_users: int, generator: np.random.Generator) -> tuple[Log, np.ndarray, np.ndarray]:
        """A log of users drawn with replacement, with the model's q of the action and of the target, (N,).

        A user drawn twice is two users with the same tastes.
        """
        at_G = generator.integers(0, len(self.user_U), num_users)
        logging_NA, target_NA, model_NA, video_NA = (
            each[at_G].reshape(-1, ACTIONS)
            for each in (self.logging_UPA, self.target_UPA, self.model_UPA, self.video_UPA)
        )
        uniform_N1 = generator.random((len(logging_NA), 1))
        action_N = np.minimum((uniform_N1 > logging_NA.cumsum(axis=1)).sum(axis=1), ACTIONS - 1)
        chosen = np.arange(len(action_N)), action_N
        user_N = np.repeat(self.user_U[at_G], CONTEXTS)
        surface_N, time_N = self.surface_UP[at_G].ravel(), self.time_UP[at_G].ravel()
        reward_N = self.law.sample(user_N, video_NA[chosen], surface_N, time_N, generator)
        cluster_N = np.repeat(np.arange(num_users), CONTEXTS)
        log = Log(reward_N, logging_NA[chosen], target_NA[chosen], cluster_N)
        return log, model_NA[chosen], (target_NA * model_NA).sum(axis=1)


ESTIMATORS = ("replay", "ips", "snips", "doubly_robust")


def estimate_all(log: Log, q_N: np.ndarray, q_target_N: np.ndarray) -> dict[str, PolicyValue]:
    """Every estimator on one log."""
    return {
        "replay": replay(log),
        "ips": ips(log),
        "snips": snips(log),
        "doubly_robust": doubly_robust(log, q_N, q_target_N),
    }


@dataclass(frozen=True)
class Errors:
    """Of one estimator over runs, relative to the true value: bias, its standard error, deviation; and coverage."""

    bias: float
    bias_error: float
    deviation: float
    coverage: float

    @classmethod
    def of(cls, values: list[PolicyValue], truth: float) -> Errors:
        """Of the estimates of all runs."""
        value_R = np.array([each.value for each in values])
        deviation = float(value_R.std(ddof=1)) / truth
        covered = float(np.mean([each.low <= truth <= each.high for each in values]))
        return cls(float(value_R.mean()) / truth - 1, deviation / len(values) ** 0.5, deviation, covered)


def errors(world: World, runs: int, seed: int, num_users: int = 300) -> dict[str, Errors]:
    """Errors of every estimator of the target's value."""
    generator = np.random.default_rng(seed)
    found = [estimate_all(*world.log(num_users, generator)) for _ in range(runs)]
    truth = world.value(world.target_UPA)
    return {name: Errors.of([each[name] for each in found], truth) for name in ESTIMATORS}


def lift_coverage(world: World, runs: int, seed: int, num_users: int = 300) -> float:
    """Share of runs in which DR's interval of the target's lift over the logging policy holds the true lift."""
    generator = np.random.default_rng(seed)
    truth = world.value(world.target_UPA) / world.value(world.logging_UPA) - 1
    held = 0
    for _ in range(runs):
        log, q_N, q_target_N = world.log(num_users, generator)
        logged = ips(Log(log.reward_N, log.propensity_N, log.propensity_N, log.user_N))
        lift = compare_policies(doubly_robust(log, q_N, q_target_N), logged)[1]
        held += lift.low <= truth <= lift.high
    return held / runs
