"""The numbers of the law: surfaces, hours, the tastes of user groups for topics, and what releases of the app change.

Fitted to a public short-video log (KuaiRand-Pure, 2022-04-25 to 05-04; docs/generator.md): skip, stay and loop by least
squares on the distribution functions of surface 1 by duration, the other surfaces' shifts likewise given those, then
adjusted, with the spreads, until the summaries of generated and real log agreed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Any, Self

import numpy as np

NUM_CLUSTERS = 6
NUM_TOPICS = 12
STREAM_PARAMETERS = 0
CLUSTER_SHARES = (0.26, 0.22, 0.19, 0.14, 0.11, 0.08)  # of users
RELEASE_DAYS = 10.0  # from one release of the app to the next, at drift 1
LENGTH = 0.4  # how much more a log unit of duration interests the clusters that a release favours
LENGTH_SIDES = (1.0, -1.0, -1.0, 1.0, 1.0, -1.0)  # of the clusters: two halves of the users
RELEASES = (1.0, -1.0)  # what each release in turn does to the first half; then over again
PATIENCE, SKIP_SPREAD = 0.78, 0.8  # standard deviations over users
QUALITY = 0.47  # standard deviation over videos

# surface: share of exposures, logit of a play that never starts, shift of interest, shift of the skip's logit,
# share of videos that it is for: others come up on it far less
SURFACES = (
    (0.0900, 2.65, -0.27, -0.52, 0.085),
    (0.7790, -5.20, 0.00, 0.00, 1.0),
    (0.0281, -5.30, 0.15, 0.20, 0.2),
    (0.0015, 3.60, -0.90, 0.50, 0.2),
    (0.0620, -3.67, -0.18, -1.50, 0.22),
    (0.0016, -5.60, -0.70, 0.60, 0.2),
    (0.0300, -7.50, -1.50, 1.10, 0.013),
    (0.0006, 0.80, 0.20, -1.00, 0.2),
    (0.0051, 3.40, 0.40, -2.00, 0.2),
)
INTEREST_BY_WEEKDAY = (0.02, 0.0, -0.03, -0.045, -0.02, 0.05, 0.025)  # Monday first
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
    """Arrays are named by axes: S surfaces, C user clusters, K topics, R releases, H hours, W weekdays.

    Times are seconds, rates are per day. docs/generator.md says what each number does.
    """

    first_day: date
    utc_offset_hours: int
    share_S: np.ndarray
    zero_logit_S: np.ndarray
    interest_S: np.ndarray
    skip_logit_S: np.ndarray
    share_H: np.ndarray
    interest_H: np.ndarray
    interest_W: np.ndarray
    topic_shown_SK: np.ndarray
    taste_CK: np.ndarray
    swing_CK: np.ndarray
    phase_CK: np.ndarray
    turn_CK: np.ndarray
    length_RC: np.ndarray
    releases_per_day: float
    interest: float = -0.26
    zero_slope: float = -0.35
    skip_logit: float = -0.62
    skip_slope: float = -1.0
    skip_bend: float = -0.08
    skip_log_s: float = 0.712
    skip_sigma: float = 0.584
    watch_log_s: float = 2.95
    watch_slope: float = 1.0
    watch_sigma: float = 1.083
    duration_slope: float = -0.02
    duration_bend: float = -0.175
    duration_log_s: float = 4.1
    length_log_s: float = 4.25
    length_reach: float = 1.2
    near_end: float = 0.921
    end_from: float = 1.285
    end_s: float = 2.764
    loop_from: float = 3.454
    loop_power: float = 0.36
    loop_slope: float = -0.082
    finish_logit: float = -1.14
    finish_slope: float = 0.4
    finish_bend: float = -0.52
    finish_bend2: float = -0.27
    finish_log: float = 0.128
    finish_sigma: float = 0.782
    min_power: float = 0.05
    max_power: float = 0.95

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
    shares_S = np.array([surface[0] for surface in SURFACES])
    return shares_S / shares_S.sum()


def draw_parameters(generator: np.random.Generator, first_day: date, utc_offset_hours: int, drift: float) -> Parameters:
    """The law's numbers; what is not fixed above is drawn. `drift` multiplies how fast tastes turn
    and how often the app has a release."""
    surfaces_S5 = np.array(SURFACES)
    share_H = np.array(HOURS) / np.sum(HOURS)
    shape_CK = (NUM_CLUSTERS, NUM_TOPICS)
    # Phases spread evenly over a cluster's topics: what one topic gains another loses, and the daily mean stays put.
    # Clusters come in pairs that turn half a cycle apart: a topic's audience changes more than its mean watch time.
    pairs = (NUM_CLUSTERS // 2, NUM_TOPICS)
    topic_CK = np.repeat(np.argsort(generator.random(pairs), axis=1), 2, axis=0)
    half_C1 = np.pi * (np.arange(NUM_CLUSTERS)[:, None] % 2)
    direction_C1 = np.repeat(generator.choice([-1.0, 1.0], (NUM_CLUSTERS // 2, 1)), 2, axis=0)
    period_days_C1 = np.repeat(generator.uniform(17.0, 27.0, (NUM_CLUSTERS // 2, 1)), 2, axis=0)
    return Parameters(
        first_day=first_day,
        utc_offset_hours=utc_offset_hours,
        share_S=surface_shares(),
        zero_logit_S=surfaces_S5[:, 1],
        interest_S=surfaces_S5[:, 2],
        skip_logit_S=surfaces_S5[:, 3],
        share_H=share_H,
        interest_H=0.07 * np.cos((np.arange(24) - 7.0) * np.pi / 12.0),
        interest_W=np.array(INTEREST_BY_WEEKDAY),
        topic_shown_SK=generator.normal(0.0, 0.5, (len(SURFACES), NUM_TOPICS)),
        taste_CK=generator.normal(0.0, 0.25, shape_CK),
        swing_CK=np.repeat(generator.uniform(0.66, 1.11, pairs), 2, axis=0),
        phase_CK=2.0 * np.pi * topic_CK / NUM_TOPICS + half_C1,
        turn_CK=np.broadcast_to(drift * direction_C1 * 2.0 * np.pi / period_days_C1, shape_CK),
        length_RC=_length_by_release(),
        releases_per_day=drift / RELEASE_DAYS,
    )


def _length_by_release() -> np.ndarray:
    """Interest in a log unit of duration by release and cluster, (R, C); its mean over users is 0 in every release."""
    sides_C = np.array(LENGTH_SIDES)
    return LENGTH * np.outer(RELEASES, sides_C - sides_C @ CLUSTER_SHARES)
