"""The numbers of the law: surfaces, hours, and the tastes of user groups for topics, which turn over the days.

Calibrated on a public short-video log (KuaiRand-Pure, ten days): median and mean watch time, zeros, skips and loops by
surface, the flat median and rising mean over video durations, the spread of users and videos.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Any, Self

import numpy as np

NUM_CLUSTERS = 6
NUM_TOPICS = 12
STREAM_PARAMETERS = 0
PATIENCE, SKIP_SPREAD = 0.55, 0.7  # standard deviations over users

# surface: share of exposures, logit of a play that never starts, shift of interest, shift of the skip's logit
SURFACES = (
    (0.090, 2.65, -0.60, 0.3),
    (0.755, -5.60, 0.00, 0.0),
    (0.030, -5.60, 0.00, 0.0),
    (0.005, 3.60, -0.90, 0.5),
    (0.060, -3.60, 0.20, -0.9),
    (0.004, -5.60, -0.45, 0.3),
    (0.050, -7.50, -1.25, 0.3),
    (0.003, 0.80, 0.20, 0.0),
    (0.003, 3.40, -0.60, 0.3),
)
# Share of exposures by local hour, 0 to 23.
HOURS = (
    4.0,
    2.4,
    1.6,
    1.0,
    0.8,
    0.9,
    1.6,
    2.5,
    3.2,
    3.9,
    4.4,
    5.1,
    5.7,
    5.6,
    5.1,
    5.1,
    5.5,
    5.9,
    5.7,
    5.5,
    5.7,
    6.0,
    6.5,
    6.3,
)


@dataclass(frozen=True)
class Parameters:
    """Arrays are named by axes: S surfaces, C user clusters, K topics, H hours. Times in seconds, rates per day."""

    first_day: date
    utc_offset_hours: int
    share_S: np.ndarray
    zero_logit_S: np.ndarray
    interest_S: np.ndarray
    skip_logit_S: np.ndarray
    share_H: np.ndarray
    interest_H: np.ndarray
    topic_shown_SK: np.ndarray
    taste_CK: np.ndarray
    swing_CK: np.ndarray
    phase_CK: np.ndarray
    turn_CK: np.ndarray
    zero_slope: float = -0.35
    skip_logit: float = -0.58
    skip_slope: float = -0.95
    skip_log_s: float = 0.28
    skip_sigma: float = 0.85
    watch_log_s: float = 2.52
    watch_slope: float = 0.95
    watch_sigma: float = 1.22
    duration_slope: float = 0.08
    duration_bend: float = -0.09
    duration_log_s: float = 4.1
    end_power: float = 0.10
    loop_from: float = 2.0
    loop_power: float = 0.45

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        values = {
            name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in asdict(self).items()
        }
        return values | {"first_day": self.first_day.isoformat()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """What `to_json` gave; raises KeyError for a number that is missing."""
        arrays = {f.name: np.asarray(values[f.name]) for f in fields(cls) if isinstance(values[f.name], list)}
        plain = {f.name: values[f.name] for f in fields(cls) if f.name not in arrays}
        return cls(**(plain | arrays | {"first_day": date.fromisoformat(values["first_day"])}))


def surface_shares() -> np.ndarray:
    """Share of exposures by surface, (S,); sums to 1."""
    shares_S = np.array([share for share, *_ in SURFACES])
    return shares_S / shares_S.sum()


def draw_parameters(generator: np.random.Generator, first_day: date, utc_offset_hours: int, drift: float) -> Parameters:
    """The law's numbers; what is not fixed above is drawn. `drift` multiplies how fast tastes turn."""
    surfaces_S4 = np.array(SURFACES)
    share_H = np.array(HOURS) / np.sum(HOURS)
    shape_CK = (NUM_CLUSTERS, NUM_TOPICS)
    # Phases spread evenly over a cluster's topics: what one topic gains another loses, and the daily mean stays put.
    topic_CK = np.argsort(generator.random(shape_CK), axis=1)
    direction_C1 = generator.choice([-1.0, 1.0], (NUM_CLUSTERS, 1))
    period_days_C1 = generator.uniform(17.0, 27.0, (NUM_CLUSTERS, 1))
    return Parameters(
        first_day=first_day,
        utc_offset_hours=utc_offset_hours,
        share_S=surface_shares(),
        zero_logit_S=surfaces_S4[:, 1],
        interest_S=surfaces_S4[:, 2],
        skip_logit_S=surfaces_S4[:, 3],
        share_H=share_H,
        interest_H=0.12 * np.sin((np.arange(24) - 6.0) * np.pi / 12.0),
        topic_shown_SK=generator.normal(0.0, 0.5, (len(SURFACES), NUM_TOPICS)),
        taste_CK=generator.normal(0.0, 0.25, shape_CK),
        swing_CK=generator.uniform(0.7, 1.2, shape_CK),
        phase_CK=2.0 * np.pi * topic_CK / NUM_TOPICS,
        turn_CK=np.broadcast_to(drift * direction_C1 * 2.0 * np.pi / period_days_C1, shape_CK),
    )
