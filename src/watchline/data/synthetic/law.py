"""The law of the generated data: the distribution of watch time given user, video, surface and time.

With interest I = patience of the user + quality of the video + match of tastes and topics at that day
                + how the duration suits the user's cluster under that day's release of the app
                + surface + hour + weekday:

    Y = 0                                               with probability p0(surface, user, I)
    Y = loop(exp(N(a, sigma_skip)))                     a quick skip, p1(surface, user, I, duration) of the rest
    Y = loop(exp(N(ln duration + c, sigma_finish)))     a stay by the video's length, p2(I, duration) of the rest
    Y = loop(exp(N(b(I, duration), sigma)))             otherwise

where loop (loops.py) turns how long a user would stay into watch time: the same up to the video's duration, a few
seconds more just beyond it, loops for who would stay much longer. Mean and CDF are closed forms of the lognormal;
samples are rounded to milliseconds as a log does. docs/generator.md has the whole law beside the log it was fitted to.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
from scipy.special import expit, ndtr

from watchline.data.synthetic.loops import LoopCurve
from watchline.data.synthetic.parameters import NUM_TOPICS, Parameters
from watchline.data.tables import read_parquet, write_parquet

# Suffixes: N rows asked about, K topics.

TASTES = [f"taste_{k}" for k in range(NUM_TOPICS)]
USER_STATE = ["user_id", "patience", "zero_logit", "skip_logit", "cluster", *TASTES]
VIDEO_STATE = ["video_id", "duration_s", "quality", "topic", "second_topic", "second_weight"]


@dataclass(frozen=True)
class Stay:
    """One kind of stay: how likely it is, and the mean and deviation of its log seconds."""

    weight_N: np.ndarray
    log_s_N: np.ndarray
    sigma: float


@dataclass(frozen=True)
class Components:
    """Each row's distribution: the weight of no play, the three kinds of stay and the video's duration in seconds."""

    zero_N: np.ndarray
    stays: tuple[Stay, ...]  # skip, finish, other; with zero_N their weights sum to 1
    duration_s_N: np.ndarray


@dataclass(frozen=True)
class Law:
    """Parameters and the hidden state of every user and video; ids are 0, 1, 2, ... in both tables."""

    parameters: Parameters
    users: pl.DataFrame
    videos: pl.DataFrame

    @cached_property
    def _user(self) -> dict[str, np.ndarray]:
        return {name: self.users[name].to_numpy() for name in USER_STATE}

    @cached_property
    def _tastes_UK(self) -> np.ndarray:
        return self.users.select(TASTES).to_numpy()

    @cached_property
    def _video(self) -> dict[str, np.ndarray]:
        return {name: self.videos[name].to_numpy() for name in VIDEO_STATE}

    def _curve(self, c: Components) -> LoopCurve:
        """Each row's curve: past the end a play lasts seconds, whatever the duration; short videos loop more."""
        p = self.parameters
        end_power_N = np.minimum(p.end_s / c.duration_s_N, p.max_power)
        loop_power_N = p.loop_power + p.loop_slope * (np.log(c.duration_s_N) - p.duration_log_s)
        return LoopCurve(
            near_end=p.near_end,
            end_from=p.end_from,
            end_power=end_power_N,
            loop_from=p.loop_from,
            loop_power=np.clip(loop_power_N, p.min_power, p.max_power),
        )

    def match(self, user_id: np.ndarray, video_id: np.ndarray, day: np.ndarray) -> np.ndarray:
        """How well the videos' topics suit the users, float64 (N,); `day` = local days since the first, fractional."""
        p, video = self.parameters, self._video
        cluster_N = self._user["cluster"][user_id]

        def taste(topic_N: np.ndarray) -> np.ndarray:
            at = (cluster_N, topic_N)
            turning = p.swing_CK[at] * np.cos(p.phase_CK[at] + p.turn_CK[at] * day)
            return p.taste_CK[at] + turning + self._tastes_UK[user_id, topic_N]

        weight_N = video["second_weight"][video_id]
        return (1.0 - weight_N) * taste(video["topic"][video_id]) + weight_N * taste(video["second_topic"][video_id])

    def length_suits(self, user_id: np.ndarray, video_id: np.ndarray, day: np.ndarray) -> np.ndarray:
        """How well the videos' durations suit the users under that day's release of the app, float64 (N,)."""
        p = self.parameters
        release_N = np.maximum(day * p.releases_per_day, 0.0).astype(np.int64) % len(p.length_RC)
        log_length_N = np.log(self._video["duration_s"][video_id]) - p.length_log_s
        length_N = np.clip(log_length_N, -p.length_reach, p.length_reach)
        return p.length_RC[release_N, self._user["cluster"][user_id]] * length_N

    def local_days(self, exposed_at: np.ndarray) -> np.ndarray:
        """Local days since the first day's midnight, fractional, of UTC datetime64 times."""
        p = self.parameters
        midnight = np.datetime64(p.first_day, "us") - np.timedelta64(p.utc_offset_hours, "h")
        return (exposed_at.astype("datetime64[us]") - midnight) / np.timedelta64(1, "D")

    def components(
        self, user_id: np.ndarray, video_id: np.ndarray, surface: np.ndarray, exposed_at: np.ndarray
    ) -> Components:
        """The distribution of each row. Raises ValueError naming ids or surfaces that the law does not know."""
        self._check(user_id, video_id, surface)
        p, user, video = self.parameters, self._user, self._video
        day_N = self.local_days(exposed_at)
        hour_N = np.floor((day_N % 1.0) * 24.0).astype(np.int64)
        weekday_N = (np.floor(day_N).astype(np.int64) + p.first_day.weekday()) % 7
        duration_N = video["duration_s"][video_id]
        log_ratio_N = np.log(duration_N) - p.duration_log_s
        interest_N = user["patience"][user_id] + video["quality"][video_id] + self.match(user_id, video_id, day_N)
        interest_N += p.interest + p.interest_S[surface] + p.interest_H[hour_N] + p.interest_W[weekday_N]
        interest_N += self.length_suits(user_id, video_id, day_N)
        zero_N = expit(p.zero_logit_S[surface] + user["zero_logit"][user_id] + p.zero_slope * interest_N)
        skip_logit_N = p.skip_logit + p.skip_logit_S[surface] + user["skip_logit"][user_id]
        skip_N = expit(skip_logit_N + p.skip_slope * interest_N + p.skip_bend * log_ratio_N)
        finish_bend_N = (p.finish_bend + p.finish_bend2 * log_ratio_N) * log_ratio_N
        finish_N = expit(p.finish_logit + p.finish_slope * interest_N + finish_bend_N)
        watch_log_N = p.watch_log_s + p.watch_slope * interest_N
        watch_log_N = watch_log_N + (p.duration_slope + p.duration_bend * log_ratio_N) * log_ratio_N
        plays_N, stays_N = 1.0 - zero_N, (1.0 - zero_N) * (1.0 - skip_N)
        return Components(
            zero_N=zero_N,
            stays=(
                Stay(plays_N * skip_N, np.full(len(zero_N), p.skip_log_s), p.skip_sigma),
                Stay(stays_N * finish_N, np.log(duration_N) + p.finish_log, p.finish_sigma),
                Stay(stays_N * (1.0 - finish_N), watch_log_N, p.watch_sigma),
            ),
            duration_s_N=duration_N,
        )

    def mean_watch_time_s(
        self, user_id: np.ndarray, video_id: np.ndarray, surface: np.ndarray, exposed_at: np.ndarray
    ) -> np.ndarray:
        """Expected watch time in seconds, float64 (N,); exact but for the rounding of samples to milliseconds."""
        c = self.components(user_id, video_id, surface, exposed_at)
        curve = self._curve(c)
        mean_N = np.zeros(len(c.zero_N))
        for stay in c.stays:
            mean_N += stay.weight_N * curve.mean(stay.log_s_N, stay.sigma, c.duration_s_N)
        return mean_N

    def sample(
        self,
        user_id: np.ndarray,
        video_id: np.ndarray,
        surface: np.ndarray,
        exposed_at: np.ndarray,
        generator: np.random.Generator,
    ) -> np.ndarray:
        """Draw one watch time a row, seconds in whole milliseconds, float64 (N,)."""
        c = self.components(user_id, video_id, surface, exposed_at)
        kind_N = generator.random(len(c.zero_N))
        noise_N = generator.standard_normal(len(c.zero_N))
        log_N, edge_N = np.zeros(len(c.zero_N)), c.zero_N
        for stay in c.stays:
            log_N = np.where(kind_N >= edge_N, stay.log_s_N + stay.sigma * noise_N, log_N)
            edge_N = edge_N + stay.weight_N
        milliseconds_N = np.rint(1000.0 * self._curve(c).apply(np.exp(log_N), c.duration_s_N))
        return np.where(kind_N < c.zero_N, 0.0, milliseconds_N) / 1000.0

    def cdf(
        self,
        watch_time_s: np.ndarray,
        user_id: np.ndarray,
        video_id: np.ndarray,
        surface: np.ndarray,
        exposed_at: np.ndarray,
    ) -> np.ndarray:
        """P(Y <= watch_time_s) of each row, float64 (N,)."""
        return self._cdf(self.components(user_id, video_id, surface, exposed_at), watch_time_s)

    def quantile_watch_time_s(
        self, level: float, user_id: np.ndarray, video_id: np.ndarray, surface: np.ndarray, exposed_at: np.ndarray
    ) -> np.ndarray:
        """The `level` quantile of each row in seconds, float64 (N,), by bisection to under a microsecond."""
        c = self.components(user_id, video_id, surface, exposed_at)
        low_N, high_N = np.full(len(c.zero_N), -12.0), np.full(len(c.zero_N), 14.0)
        for _ in range(48):
            middle_N = 0.5 * (low_N + high_N)
            above_N = self._cdf(c, np.exp(middle_N)) >= level
            low_N, high_N = np.where(above_N, low_N, middle_N), np.where(above_N, middle_N, high_N)
        return np.where(c.zero_N >= level, 0.0, np.exp(high_N))

    def _cdf(self, c: Components, watch_time_s: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            log_N = np.log(self._curve(c).invert(np.maximum(watch_time_s, 0.0), c.duration_s_N))
        cdf_N = c.zero_N.copy()
        for stay in c.stays:
            cdf_N += stay.weight_N * ndtr((log_N - stay.log_s_N) / stay.sigma)
        return np.where(watch_time_s < 0.0, 0.0, cdf_N)

    def _check(self, user_id: np.ndarray, video_id: np.ndarray, surface: np.ndarray) -> None:
        asked = (
            ("user_id", user_id, len(self.users)),
            ("video_id", video_id, len(self.videos)),
            ("surface", surface, len(self.parameters.share_S)),
        )
        for name, values, count in asked:
            unknown = np.asarray(values)[(np.asarray(values) < 0) | (np.asarray(values) >= count)]
            if unknown.size:
                raise ValueError(
                    f"{name}: {unknown.size} rows outside the law's 0 to {count - 1}, such as {unknown[0]}"
                )

    def save(self, directory: Path) -> None:
        """Write law.json, users.parquet and videos.parquet (hidden state, never features)."""
        write_parquet(self.users.select(USER_STATE), directory / "users.parquet")
        write_parquet(self.videos.select(VIDEO_STATE), directory / "videos.parquet")
        text = json.dumps(self.parameters.to_json(), indent=2, sort_keys=True)
        (directory / "law.json").write_text(text + "\n")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote; raises FileNotFoundError or TableError naming the file that is missing or damaged."""
        path = directory / "law.json"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; only ingest.source=synthetic writes its law")
        parameters = Parameters.from_json(json.loads(path.read_text()))
        tables = [read_parquet(directory / f"{name}.parquet") for name in ("users", "videos")]
        for table, key in zip(tables, ("user_id", "video_id"), strict=True):
            if not np.array_equal(table[key].to_numpy(), np.arange(len(table))):
                raise ValueError(f"{directory}: {key} must be 0, 1, 2, ...; run `dvc checkout` to get the law back")
        return cls(parameters, *tables)
