"""What an arm does with a request: score its candidates by one statistic of one model, rank them, at times explore."""

# N requests, C candidates each, P of them ranked

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from watchline.models.base import DistributionModel, WatchTimeModel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LONG_VIEW = "expected_long_view"
LONG_VIEW_S = 18.0  # KuaiRand's long_view: watched to the end, or for 18 seconds
LONG_VIEW_LABEL = "watch_time_s"  # the label of the models whose distribution says how likely one is


@dataclass(frozen=True)
class Policy:
    """Ranks candidates by `statistic` of `model`, best first; `name` is that of the model in reports.

    `epsilon`: chance that a place is given to any of the remaining candidates alike (epsilon-greedy); `temperature`:
    softmax over scores in units of the statistic (Plackett-Luce); 0 and 0: always the best.
    """

    name: str
    model: WatchTimeModel
    statistic: str
    epsilon: float = 0.0
    temperature: float = 0.0

    def __post_init__(self) -> None:
        if self.epsilon and self.temperature:
            raise ValueError(f"{self.name}: epsilon {self.epsilon} and temperature {self.temperature} exclude another")

    def score(self, candidates: pl.DataFrame, num_requests: int) -> Floats:
        """The statistic of each candidate (N, C); `candidates` has N * C rows by request.

        Raises ValueError when the model cannot give the statistic or gives a score that is not finite.
        """
        if self.statistic not in statistics_of(self.model):
            known = ", ".join(statistics_of(self.model))
            raise ValueError(f"model {self.name!r} cannot predict {self.statistic!r}; it knows {known}")
        if self.statistic == LONG_VIEW and isinstance(self.model, DistributionModel):
            score = chance_of_long_view(self.model, candidates)
        else:
            score = self.model.predict(candidates, [self.statistic])[self.statistic]
        if not np.isfinite(score).all():
            raise ValueError(
                f"model {self.name!r}: {(~np.isfinite(score)).sum()} of {len(score)} scores are not finite"
            )
        return score.reshape(num_requests, -1)

    def rank(self, score_NC: Floats, length: int, generator: np.random.Generator) -> tuple[Ints, Floats]:
        """Flat positions (N, P) of what is shown, in order, and each one's chance given those before it (N, P).

        Ties go to the candidate that comes first, which is a random one. Raises ValueError for too few candidates.
        """
        if self.epsilon:
            return _epsilon_greedy(score_NC, length, self.epsilon, generator)
        if self.temperature:
            return _softmax(score_NC, length, self.temperature, generator)
        best = best_of(score_NC, length)
        return best, np.ones(best.shape)

    def first_chances(self, score_NC: Floats) -> Floats:
        """The chance (N, C) of each candidate to be shown first: the policy as a distribution over single videos."""
        size = score_NC.shape[1]
        if self.temperature:
            weight_NC = np.exp((score_NC - score_NC.max(axis=1, keepdims=True)) / self.temperature)
            return weight_NC / weight_NC.sum(axis=1, keepdims=True)
        is_best_NC = np.arange(size) == score_NC.argmax(axis=1)[:, None]
        return (1 - self.epsilon) * is_best_NC + self.epsilon / size


def statistics_of(model: WatchTimeModel, label: str = LONG_VIEW_LABEL) -> tuple[str, ...]:
    """What a policy can rank by: the model's named statistics, and the expected long view where it has a law.

    `label`: the column that the model predicts; of another one than watch time there is no long view.
    """
    return (*model.statistics, *[LONG_VIEW] * (isinstance(model, DistributionModel) and label == LONG_VIEW_LABEL))


def chance_of_long_view(model: DistributionModel, candidates: pl.DataFrame) -> Floats:
    """P(watch time >= min(duration, LONG_VIEW_S)) of each row (B,), 1 - F(y-); no duration counts as a long one.

    Raises KeyError when the candidates lack `duration_s`.
    """
    if "duration_s" not in candidates.columns:
        raise KeyError(f"{LONG_VIEW} needs the column duration_s, which the feature table lacks; rank by another one")
    threshold = pl.min_horizontal(pl.col("duration_s").cast(pl.Float64), pl.lit(LONG_VIEW_S))
    below, _ = model.cumulative(candidates.with_columns(threshold.alias(LONG_VIEW_LABEL)))
    return 1.0 - below


def best_of(score_NC: Floats, length: int) -> Ints:
    """Flat positions (N, P) of each request's highest scores, best first, ties by position.

    Raises ValueError when there are fewer candidates than `length`.
    """
    num_requests, size = score_NC.shape
    if not 1 <= length <= size:
        raise ValueError(f"cannot show the best {length} of {size} candidates")
    return np.argsort(-score_NC, axis=1, kind="stable")[:, :length] + _starts(num_requests, size)


def _epsilon_greedy(
    score_NC: Floats, length: int, epsilon: float, generator: np.random.Generator
) -> tuple[Ints, Floats]:
    """Place by place: the best remaining with chance 1 - epsilon, else any of the remaining, the best among them."""
    num_requests, size = score_NC.shape
    best_first_NC = best_of(score_NC, size)
    explores_NP, pick_NP = generator.random((2, num_requests, length))
    explores_NP = explores_NP < epsilon
    remains_NC, every = np.ones((num_requests, size), bool), np.arange(num_requests)
    shown_NP, chance_NP = np.empty((num_requests, length), np.int64), np.empty((num_requests, length))
    for place in range(length):
        left = size - place
        which_N = np.where(explores_NP[:, place], (pick_NP[:, place] * left).astype(np.int64), 0)
        chosen_N = (remains_NC.cumsum(axis=1) > which_N[:, None]).argmax(axis=1)
        remains_NC[every, chosen_N] = False
        shown_NP[:, place] = best_first_NC[every, chosen_N]
        chance_NP[:, place] = (1 - epsilon) * (which_N == 0) + epsilon / left
    return shown_NP, chance_NP


def _softmax(score_NC: Floats, length: int, temperature: float, generator: np.random.Generator) -> tuple[Ints, Floats]:
    """Plackett-Luce: without replacement with chances proportional to exp(score / temperature), by Gumbel noise.

    Reference: Kool, van Hoof, Welling, ICML 2019 (Gumbel-top-k).
    """
    if length > score_NC.shape[1]:
        raise ValueError(f"cannot show {length} of {score_NC.shape[1]} candidates")
    logit_NC = score_NC / temperature
    order_NC = best_of(logit_NC + generator.gumbel(size=logit_NC.shape), score_NC.shape[1])
    logit_NC = logit_NC.ravel()[order_NC]
    remaining_NC = np.logaddexp.accumulate(logit_NC[:, ::-1], axis=1)[:, ::-1]
    return order_NC[:, :length], np.exp(logit_NC - remaining_NC)[:, :length]


def _starts(num_requests: int, size: int) -> Ints:
    return size * np.arange(num_requests)[:, None]
