"""The random log: what a policy would have earned, from exposures whose video was drawn uniformly from a pool.

Nothing is simulated: there are no sessions, and the only answers are the logged ones. A logged exposure becomes a
question of C candidates, the video that was shown and C - 1 others of the pool, in random order. As the log drew it
uniformly, any of the C was as likely to be the shown one, so the logging policy's propensity in the question is 1 / C,
and the target's chance is that of the shown video to be a policy's first choice among them.
"""

# N logged exposures, C candidates of each, V videos of the pool

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from watchline.data.columns import Columns
from watchline.experiment.assignment import assign
from watchline.experiment.environments.base import Floats, Ints
from watchline.experiment.environments.model import RewardModelEnvironment
from watchline.experiment.logged import Log
from watchline.experiment.off_policy import PolicyValue, doubly_robust, ips, replay, snips
from watchline.experiment.policies import Policy
from watchline.experiment.streams import CANDIDATES, REQUESTS, stream

CHUNK = 1000  # questions scored at a time, which bounds memory
REQUEST = ("user_id", "exposed_at", "date", "surface")
METHODS = ("replay", "ips", "snips", "dr")


@dataclass(frozen=True)
class Choices:
    """A policy's first choices on the log: its log of chances, the reward model's mean of the shown video (N,) and over
    the policy's own choices (N,), seconds."""

    log: Log
    predicted_N: Floats
    predicted_target_N: Floats

    def estimates(self) -> dict[str, PolicyValue]:
        """Mean watch time of the first video shown, seconds, by each of METHODS."""
        predictions = self.predicted_N, self.predicted_target_N
        found = (replay(self.log), ips(self.log), snips(self.log), doubly_robust(self.log, *predictions))
        return dict(zip(METHODS, found, strict=True))


class ReplayEnvironment:
    """Rows of a log whose videos were drawn uniformly from a pool (`is_random`): the videos that the rows show."""

    name: ClassVar[str] = "replay"
    is_truth: ClassVar[bool] = False

    def __init__(self, exposures: pl.DataFrame, columns: Columns, num_rows: int, seed: int) -> None:
        """At most `num_rows` of the random rows of `exposures`, drawn without replacement.

        The reward model of DR is fitted on the half of the users that a row's user is not in (cross-fitting). Raises
        ValueError when there are no random rows or too few for that.
        """
        random = exposures.filter(pl.col("is_random").fill_null(False))
        if random.is_empty():
            raise ValueError(
                f"none of {len(exposures):,} exposures of the eval days is is_random, so no video was drawn uniformly; "
                "set abtest.environment to model"
            )
        self.pool = random["video_id"].unique().sort().to_numpy()
        taken = np.sort(stream(seed, REQUESTS).permutation(len(random))[:num_rows])
        self.rows = random[taken].with_row_index("request_id").cast({"request_id": pl.Int64})
        self.seed = seed
        self._fold = assign(self.rows["user_id"].to_numpy(), f"replay-{seed}")
        fold = assign(random["user_id"].to_numpy(), f"replay-{seed}")
        self._rewards = [RewardModelEnvironment(random.filter(fold != side), columns, seed=seed) for side in (0, 1)]

    def ask(
        self, policies: Mapping[str, Policy], size: int, join: Callable[[pl.DataFrame], pl.DataFrame]
    ) -> dict[str, Choices]:
        """What each policy would have shown first among `size` candidates; `join` adds the feature columns."""
        parts: dict[str, list[tuple[Floats, ...]]] = {arm: [] for arm in policies}
        for rows, candidates, shown_N in self._questions(size, join):
            reward_NC = self._rewards_of(candidates, rows, size)
            every = np.arange(len(shown_N))
            for arm, policy in policies.items():
                chance_NC = policy.first_chances(policy.score(candidates, len(shown_N)))
                target_N = chance_NC[every, shown_N]
                parts[arm].append((target_N, reward_NC[every, shown_N], (chance_NC * reward_NC).sum(axis=1)))
        reward_N, user_N = self.rows["watch_time_s"].to_numpy(), self.rows["user_id"].to_numpy()
        propensity_N = np.full(len(reward_N), 1 / size)
        choices = {}
        for arm, chunks in parts.items():
            target_N, *predictions = (np.concatenate(values) for values in zip(*chunks, strict=True))
            choices[arm] = Choices(Log(reward_N, propensity_N, target_N, user_N), *predictions)
        return choices

    def _questions(
        self, size: int, join: Callable[[pl.DataFrame], pl.DataFrame]
    ) -> Iterator[tuple[Ints, pl.DataFrame, Ints]]:
        """Numbers of some rows, their (n * C) candidates with features, and where the shown video stands (n,)."""
        if size > len(self.pool):
            raise ValueError(
                f"{len(self.pool)} videos were shown at random, fewer than the {size} of abtest.candidates"
            )
        for number, start in enumerate(range(0, len(self.rows), CHUNK)):
            rows = np.arange(start, min(start + CHUNK, len(self.rows)))
            generator = stream(self.seed, CANDIDATES, number)
            at_N = np.searchsorted(self.pool, self.rows["video_id"][rows].to_numpy())
            others_NC = distinct(len(rows), size - 1, len(self.pool) - 1, generator)
            others_NC += others_NC >= at_N[:, None]  # every video but the shown one
            order_NC = generator.permuted(np.tile(np.arange(size), (len(rows), 1)), axis=1)
            chosen_NC = np.take_along_axis(np.concatenate([at_N[:, None], others_NC], axis=1), order_NC, axis=1)
            repeated = self.rows.select("request_id", *REQUEST)[np.repeat(rows, size)]
            candidates = repeated.with_columns(pl.Series("video_id", self.pool[chosen_NC.ravel()]))
            yield rows, join(candidates), (order_NC == 0).argmax(axis=1)

    def _rewards_of(self, candidates: pl.DataFrame, rows: Ints, size: int) -> Floats:
        """The reward model's mean of each candidate (n, C), by the model that did not see the row's user."""
        fold_N = self._fold[rows]
        mean_NC = np.empty((len(rows), size))
        for side, model in enumerate(self._rewards):
            of_side = fold_N == side
            if of_side.any():
                asked = candidates.filter(np.repeat(of_side, size))
                mean_NC[of_side] = model.answer(asked).mean_s.reshape(-1, size)
        return mean_NC


def distinct(num_rows: int, size: int, count: int, generator: np.random.Generator) -> Ints:
    """`size` distinct numbers below `count` for each row (N, size), uniformly; rows with repeats are drawn again."""
    if count < 50 * size:
        return np.argsort(generator.random((num_rows, count)), axis=1)[:, :size].astype(np.int64)
    drawn = generator.integers(0, count, (num_rows, size))
    while len(again := np.flatnonzero((np.diff(np.sort(drawn, axis=1), axis=1) == 0).any(axis=1))):
        drawn[again] = generator.integers(0, count, (len(again), size))
    return drawn
