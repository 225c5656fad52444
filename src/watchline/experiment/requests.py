"""What the arms are asked: requests drawn from logged exposures, each with candidates that were there at its time."""

# N requests, C candidates each, V videos of a catalogue

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

REQUEST_COLUMNS = ["user_id", "exposed_at", "date", "surface"]

Retrieval = Literal["popular", "uniform"]


def draw_requests(exposures: pl.DataFrame, num_requests: int, seed: int) -> pl.DataFrame:
    """Users, times, days and surfaces of `num_requests` exposures drawn without replacement, as `request_id` 0, 1, ...

    Fewer exposures than that are all taken. Sorted by day and time; the video that was shown is forgotten, and with
    it the choice of the policy that logged it. Raises ValueError when there are no exposures.
    """
    if exposures.is_empty():
        raise ValueError("no exposures to draw requests from; the eval days are empty")
    generator = np.random.default_rng([seed, 1])
    taken = generator.permutation(len(exposures))[:num_requests]
    drawn = exposures.select(REQUEST_COLUMNS)[taken].sort("date", "exposed_at", "user_id", "surface")
    return drawn.with_row_index("request_id").cast({"request_id": pl.Int64})


def draw_candidates(
    requests: pl.DataFrame, log: pl.DataFrame, size: int, retrieval: Retrieval, days: int, seed: int
) -> pl.DataFrame:
    """The candidate table, (N * C) rows by request: the requests' columns and `video_id`, distinct within a request.

    Candidates come from the videos that `log` (video_id, date) showed to anyone on the `days` days before the
    request's own day, uniformly or with chances proportional to their exposures there. The same for every arm, in
    random order. Raises ValueError naming the day whose catalogue is smaller than `size`.
    """
    generator = np.random.default_rng([seed, 2])
    parts = []
    for (day,), of_day in requests.group_by("date", maintain_order=True):
        in_reach = pl.col("date").is_between(day - timedelta(days=days), day - timedelta(days=1))
        catalogue = log.filter(in_reach).group_by("video_id").len("exposures").sort("video_id")
        if len(catalogue) < size:
            raise ValueError(
                f"{day}: {len(catalogue)} videos were shown on the {days} days before, fewer than the {size} "
                "candidates asked for; lower abtest.candidates or raise abtest.catalogue_days"
            )
        weight_V = catalogue["exposures"].to_numpy() if retrieval == "popular" else np.ones(len(catalogue))
        chosen_NC = _weighted_draws(weight_V.astype(np.float64), len(of_day), size, generator)
        videos = catalogue["video_id"].to_numpy()[chosen_NC.ravel()]
        repeated = of_day[np.repeat(np.arange(len(of_day)), size)]
        parts.append(repeated.with_columns(pl.Series("video_id", videos)))
    return pl.concat(parts)


def _weighted_draws(
    weight_V: NDArray[np.float64], num_requests: int, size: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """`size` distinct items per request (N, C), drawn one after the other with chances proportional to weight.

    The `size` smallest of E_v / w_v, E_v standard exponential (Efraimidis & Spirakis 2006), in random order of time.
    """
    chosen = np.empty((num_requests, size), np.int64)
    chunk = max(1, 4_000_000 // len(weight_V))
    for start in range(0, num_requests, chunk):
        rows = min(chunk, num_requests - start)
        arrival = generator.standard_exponential((rows, len(weight_V))) / weight_V
        chosen[start : start + rows] = np.argpartition(arrival, size - 1, axis=1)[:, :size]
    return generator.permuted(chosen, axis=1)
