"""A law of watch time that is simple enough to check by hand, for tests of the experiment."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from watchline.data.schema import TIMESTAMP
from watchline.experiment.requests import draw_candidates


class ToyLaw:
    """Exponential watch time of mean appeal[video] * patience[user] seconds; zero one time in ten on surface 1."""

    def __init__(self, num_users: int, num_videos: int, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        self.patience_U = generator.lognormal(0.0, 0.5, num_users)
        self.appeal_V = generator.lognormal(2.0, 0.5, num_videos)

    def _scale(self, user_id: np.ndarray, video_id: np.ndarray) -> np.ndarray:
        return self.appeal_V[video_id] * self.patience_U[user_id]

    def mean_watch_time_s(self, user_id, video_id, surface, exposed_at) -> np.ndarray:
        return self._scale(user_id, video_id) * np.where(surface == 1, 0.9, 1.0)

    def sample(self, user_id, video_id, surface, exposed_at, generator) -> np.ndarray:
        watched = generator.exponential(self._scale(user_id, video_id))
        return np.where((surface == 1) & (generator.random(len(watched)) < 0.1), 0.0, watched)


class KnowingModel:
    """Ranks by the law's mean with lognormal noise of `noise` deviation; `noise` None ranks from worst to best."""

    statistics = ("mean",)

    def __init__(self, law: ToyLaw, noise: float | None = 0.0) -> None:
        self.law, self.noise = law, noise

    def predict(self, table: pl.DataFrame, statistics) -> dict[str, np.ndarray]:
        mean = self.law.mean_watch_time_s(
            *(table[name].to_numpy() for name in ("user_id", "video_id", "surface")), None
        )
        if self.noise is None:
            return {"mean": -mean}
        return {"mean": mean * np.random.default_rng(0).lognormal(0.0, self.noise or 1e-12, len(mean))}


def exposure_log(
    law: ToyLaw, num_rows: int, days: int = 4, seed: int = 0, first_day: date = date(2024, 3, 1)
) -> pl.DataFrame:
    """Exposures of random users to random videos, answered by the law, sorted by time."""
    generator = np.random.default_rng([seed, 99])
    user = generator.integers(0, len(law.patience_U), num_rows)
    video = generator.integers(0, len(law.appeal_V), num_rows)
    surface = generator.integers(0, 3, num_rows)
    micros = np.sort(generator.integers(0, days * 86_400_000_000, num_rows))
    start = datetime(first_day.year, first_day.month, first_day.day, tzinfo=UTC)
    return pl.DataFrame(
        {
            "user_id": user,
            "video_id": video,
            "exposed_at": (pl.Series(micros).cast(pl.Duration("us")) + start).cast(TIMESTAMP),
            "date": [first_day + timedelta(days=int(day)) for day in micros // 86_400_000_000],
            "surface": surface,
            "watch_time_s": law.sample(user, video, surface, None, generator),
        }
    )


def candidates_with_durations(
    requests, generator, *, catalogues, size, known=lambda user_id, video_id: None
) -> pl.DataFrame:
    """Candidates drawn from the catalogues, with the one feature that sessions read."""
    candidates = draw_candidates(requests, catalogues, size, known, generator)
    return candidates.with_columns(duration_s=5.0 + pl.col("video_id") % 20)
