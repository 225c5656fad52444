"""What an arm does with a request: score its candidates by one statistic of one model and show the best."""

# N requests, C candidates each, K of them shown

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from watchline.models.base import WatchTimeModel


@dataclass(frozen=True)
class Policy:
    """Ranks candidates by `statistic` of `model`, best first; `name` is that of the model in reports."""

    name: str
    model: WatchTimeModel
    statistic: str

    def show(self, candidates: pl.DataFrame, num_requests: int, top_k: int) -> NDArray[np.int64]:
        """Rows of `candidates`, (N * C) rows by request, that are shown, best first (N, K).

        Ties go to the candidate that comes first, which is a random one. Raises ValueError when the model cannot give
        the statistic or gives a score that is not finite.
        """
        if self.statistic not in self.model.statistics:
            known = ", ".join(self.model.statistics)
            raise ValueError(f"model {self.name!r} cannot predict {self.statistic!r}; it knows {known}")
        score = self.model.predict(candidates, [self.statistic])[self.statistic]
        if not np.isfinite(score).all():
            raise ValueError(
                f"model {self.name!r}: {(~np.isfinite(score)).sum()} of {len(score)} scores are not finite"
            )
        return best_of(score.reshape(num_requests, -1), top_k)


def best_of(score_NC: NDArray[np.float64], top_k: int) -> NDArray[np.int64]:
    """Flat positions (N, K) of each request's `top_k` highest scores, best first, ties by position.

    Raises ValueError when there are fewer candidates than `top_k`.
    """
    num_requests, size = score_NC.shape
    if not 1 <= top_k <= size:
        raise ValueError(f"cannot show the best {top_k} of {size} candidates")
    order_NC = np.argsort(-score_NC, axis=1, kind="stable")
    return order_NC[:, :top_k] + size * np.arange(num_requests)[:, None]
