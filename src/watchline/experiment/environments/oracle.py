"""The oracle: the law that generated the data answers, so the true lift of any two policies is known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from watchline.experiment.environments.base import Floats, Ints


class Law(Protocol):
    """The law of generated data: watch time given user, video, surface and time (datetime64, UTC); arrays (B,)."""

    def mean_watch_time_s(
        self, user_id: NDArray[Any], video_id: NDArray[Any], surface: NDArray[Any], exposed_at: NDArray[Any]
    ) -> Floats:
        """Expected watch time in seconds."""

    def sample(
        self,
        user_id: NDArray[Any],
        video_id: NDArray[Any],
        surface: NDArray[Any],
        exposed_at: NDArray[Any],
        generator: np.random.Generator,
    ) -> Floats:
        """One draw per row, seconds."""


@dataclass(frozen=True)
class OracleAnswers:
    """The law at the exposures' users, videos, surfaces and times, arrays (B,)."""

    law: Law
    asked: tuple[NDArray[Any], ...]

    @cached_property
    def mean_s(self) -> Floats:
        """Expected watch time (B,), seconds: exact."""
        return self.law.mean_watch_time_s(*self.asked)

    def draw(self, rows: Ints, generator: np.random.Generator) -> Floats:
        """One drawn watch time of each of `rows`, seconds."""
        flat = rows.ravel()
        user, video, surface, exposed_at = (values[flat] for values in self.asked)
        return self.law.sample(user, video, surface, exposed_at, generator).reshape(rows.shape)


class OracleEnvironment:
    """The generator's own law: expectations are exact, so the lift of one policy over another is known."""

    name: ClassVar[str] = "oracle"
    is_truth: ClassVar[bool] = True

    def __init__(self, law: Law) -> None:
        self.law = law

    def answer(self, exposures: pl.DataFrame) -> OracleAnswers:
        """The law's answers; the law raises ValueError for ids and surfaces that it does not know."""
        user, video, surface = (exposures[name].to_numpy() for name in ("user_id", "video_id", "surface"))
        # A time zone has no NumPy form; the times are UTC, so dropping it changes no instant.
        return OracleAnswers(
            self.law, (user, video, surface, exposures["exposed_at"].dt.replace_time_zone(None).to_numpy())
        )

    def known(self, user_id: Ints, video_id: Ints) -> None:
        """The law answers everything."""
