"""What the arms are asked: requests drawn from logged exposures, each with candidates that were there at its time."""

# N requests, C candidates each, V videos of a catalogue

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from watchline.experiment.streams import REQUESTS, stream

REQUEST_COLUMNS = ["user_id", "exposed_at", "date", "surface"]

Retrieval = Literal["popular", "uniform"]
# Which of V videos have an answer for each of N users (N, V); None: all of them.
Known = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_] | None]


def draw_requests(exposures: pl.DataFrame, num_requests: int, seed: int) -> pl.DataFrame:
    """Users, times, days and surfaces of `num_requests` exposures drawn without replacement, as `request_id` 0, 1, ...

    Fewer exposures than that are all taken. Sorted by day and time; the video that was shown is forgotten, and with
    it the choice of the policy that logged it. Raises ValueError when there are no exposures.
    """
    if exposures.is_empty():
        raise ValueError("no exposures to draw requests from; the eval days are empty")
    generator = stream(seed, REQUESTS)
    taken = generator.permutation(len(exposures))[:num_requests]
    drawn = exposures.select(REQUEST_COLUMNS)[taken].sort("date", "exposed_at", "user_id", "surface")
    return drawn.with_row_index("request_id").cast({"request_id": pl.Int64})


@dataclass(frozen=True)
class Catalogue:
    """The videos (V,) that requests of one day may be answered with, ascending, and their weights (V,)."""

    day: date
    video_V: NDArray[np.int64]
    weight_V: NDArray[np.float64]


def catalogues_of(requests: pl.DataFrame, log: pl.DataFrame, retrieval: Retrieval, days: int) -> dict[date, Catalogue]:
    """A catalogue for each day of the requests: the videos that `log` (video_id, date) showed to anyone on the `days`
    days before, with their exposures there as weights (popular) or with equal ones (uniform)."""
    found = {}
    for day in requests["date"].unique().sort():
        in_reach = pl.col("date").is_between(day - timedelta(days=days), day - timedelta(days=1))
        counts = log.filter(in_reach).group_by("video_id").len("exposures").sort("video_id")
        weight_V = counts["exposures"].to_numpy() if retrieval == "popular" else np.ones(len(counts))
        found[day] = Catalogue(day, counts["video_id"].to_numpy(), weight_V.astype(np.float64))
    return found


def draw_candidates(
    requests: pl.DataFrame,
    catalogues: dict[date, Catalogue],
    size: int,
    known: Known,
    generator: np.random.Generator,
) -> pl.DataFrame:
    """The candidate table, (N * C) rows by request: the requests' columns and `video_id`, distinct within a request.

    Drawn from the catalogue of the request's day among the videos that the environment knows an answer for, in random
    order, the same for every arm. Raises ValueError naming the day and user with fewer than `size` of them.
    """
    parts = []
    for (day,), of_day in requests.group_by("date", maintain_order=True):
        catalogue = catalogues[day]
        known_NV = known(of_day["user_id"].to_numpy(), catalogue.video_V)
        _check_size(of_day, catalogue, known_NV, size)
        chosen_NC = _weighted_draws(catalogue.weight_V, known_NV, len(of_day), size, generator)
        repeated = of_day[np.repeat(np.arange(len(of_day)), size)]
        parts.append(repeated.with_columns(pl.Series("video_id", catalogue.video_V[chosen_NC.ravel()])))
    return pl.concat(parts)


def prepare_candidates(
    requests: pl.DataFrame,
    generator: np.random.Generator,
    *,
    catalogues: dict[date, Catalogue],
    size: int,
    known: Known,
    join: Callable[[pl.DataFrame], pl.DataFrame],
) -> pl.DataFrame:
    """Candidates of some requests with their features."""
    return join(draw_candidates(requests, catalogues, size, known, generator))


def _check_size(requests: pl.DataFrame, catalogue: Catalogue, known_NV: NDArray[np.bool_] | None, size: int) -> None:
    whom, count = "", len(catalogue.video_V)
    if known_NV is not None:
        fewest = int(known_NV.sum(axis=1).argmin())
        whom, count = f" with an answer of user {requests['user_id'][fewest]}", int(known_NV[fewest].sum())
    if count < size:
        raise ValueError(
            f"{catalogue.day}: {count} videos{whom} were shown on the abtest.catalogue_days before, fewer than the "
            f"{size} candidates asked for; lower abtest.candidates or raise abtest.catalogue_days"
        )


def _weighted_draws(
    weight_V: NDArray[np.float64],
    known_NV: NDArray[np.bool_] | None,
    num_requests: int,
    size: int,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """`size` distinct items per request (N, C), drawn one after the other with chances proportional to weight.

    The `size` smallest of E_v / w_v, E_v standard exponential (Efraimidis & Spirakis 2006), in random order of time.
    """
    chosen = np.empty((num_requests, size), np.int64)
    chunk = max(1, 4_000_000 // len(weight_V))
    for start in range(0, num_requests, chunk):
        rows = slice(start, min(start + chunk, num_requests))
        arrival = generator.standard_exponential((rows.stop - start, len(weight_V))) / weight_V
        if known_NV is not None:
            arrival[~known_NV[rows]] = np.inf
        chosen[rows] = np.argpartition(arrival, size - 1, axis=1)[:, :size]
    return generator.permuted(chosen, axis=1)
