"""The matrix: a log that has nearly every pair of its users and videos answers with what it recorded."""

# N users asked about, V videos asked about, U users and I videos of the matrix

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from watchline.experiment.environments.base import Bools, Floats, Ints

MIN_OBSERVED = 0.5  # below it a log is no matrix: most of what an arm would show has no answer


@dataclass(frozen=True)
class MatrixAnswers:
    """The observed cells of the exposures (B,), seconds: the expectation and every draw are what was recorded."""

    mean_s: Floats

    def draw(self, rows: Ints, generator: np.random.Generator) -> Floats:
        """The recorded watch time of each of `rows`; nothing is left to chance."""
        return self.mean_s[rows]


class MatrixEnvironment:
    """The cells of a fully observed matrix, such as KuaiRec's small one (1,411 x 3,327, 99.6 % observed).

    A pair's first record is its answer, whenever it is asked. Pairs without a record are never candidates. What was
    recorded is one answer of a user, not an expectation, so the lift of two policies is that of these users and answers
    alone. Reference: Gao et al., KuaiRec (CIKM 2022).
    """

    name: ClassVar[str] = "matrix"
    is_truth: ClassVar[bool] = False

    def __init__(self, exposures: pl.DataFrame) -> None:
        """Cells from rows of user_id, video_id, exposed_at and watch_time_s.

        Raises ValueError when under half of the pairs of these users and videos are there.
        """
        first = exposures.sort("exposed_at", maintain_order=True).unique(
            ["user_id", "video_id"], keep="first", maintain_order=True
        )
        self._users, user = np.unique(first["user_id"].to_numpy(), return_inverse=True)
        self._videos, video = np.unique(first["video_id"].to_numpy(), return_inverse=True)
        shape = len(self._users), len(self._videos)
        self.observed_share = len(first) / max(shape[0] * shape[1], 1)
        if self.observed_share < MIN_OBSERVED:
            raise ValueError(
                f"{len(first):,} of {shape[0]:,} x {shape[1]:,} pairs of users and videos are observed "
                f"({self.observed_share:.1%}), which is no matrix; set abtest.environment to model"
            )
        self._watch_s_UI = np.full(shape, np.nan)
        self._watch_s_UI[user, video] = first["watch_time_s"].to_numpy()

    def answer(self, exposures: pl.DataFrame) -> MatrixAnswers:
        """The recorded answers; raises ValueError when a pair has none."""
        user, video = exposures["user_id"].to_numpy(), exposures["video_id"].to_numpy()
        (user_at, is_user), (video_at, is_video) = _places(self._users, user), _places(self._videos, video)
        watch_s = np.where(is_user & is_video, self._watch_s_UI[user_at, video_at], np.nan)
        missing = np.isnan(watch_s)
        if missing.any():
            pair = user[missing][0], video[missing][0]
            raise ValueError(f"{missing.sum():,} exposures have no cell, such as user {pair[0]} and video {pair[1]}")
        return MatrixAnswers(watch_s)

    def known(self, user_id: Ints, video_id: Ints) -> Bools:
        """Which pairs of N users and V videos are observed (N, V)."""
        (user_at, is_user), (video_at, is_video) = _places(self._users, user_id), _places(self._videos, video_id)
        observed_NV = ~np.isnan(self._watch_s_UI[user_at[:, None], video_at[None, :]])
        return observed_NV & is_user[:, None] & is_video[None, :]


def _places(known: Ints, ids: Ints) -> tuple[Ints, Bools]:
    """The position of each id in the ascending `known`, and whether it is there (else the position is any)."""
    at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    return at, known[at] == ids
