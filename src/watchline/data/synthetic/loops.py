"""How long a user would stay with a video, turned into watch time: past its end, plays pause or loop.

With r = stay / duration: watch / duration = r up to near_end, a little under 1; from there to r = end_from, a little
over 1, it creeps up to 1, as who comes close waits for the end; beyond, it grows with end_power, where most plays stop
soon; from r = loop_from on with loop_power, as loops add up. The curve is continuous and increasing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

Power = float | np.ndarray  # the same for all rows, or one a row


@dataclass(frozen=True)
class LoopCurve:
    """Piecewise powers of r, each height * (r / start)^power; all times in seconds, all methods elementwise."""

    near_end: float
    end_from: float
    end_power: Power
    loop_from: float
    loop_power: Power

    @property
    def _pieces(self) -> list[tuple[float, float, float, Power, Power]]:
        """(from r, to r, start, height, power) of each piece."""
        a, b, k = self.near_end, self.end_from, self.loop_from
        near_power = np.log(1.0 / a) / np.log(b / a)
        return [
            (0.0, a, a, a, 1.0),
            (a, b, a, a, near_power),
            (b, k, b, 1.0, self.end_power),
            (k, np.inf, k, (k / b) ** self.end_power, self.loop_power),
        ]

    def apply(self, stay_s: np.ndarray, duration_s: np.ndarray) -> np.ndarray:
        """Watch time of a stay."""
        ratio = stay_s / duration_s
        choices = [height * (ratio / start) ** power for _, _, start, height, power in self._pieces]
        return duration_s * np.select([ratio <= end for _, end, *_ in self._pieces], choices)

    def invert(self, watch_s: np.ndarray, duration_s: np.ndarray) -> np.ndarray:
        """The stay that gives a watch time."""
        height_of = watch_s / duration_s
        with np.errstate(over="ignore"):
            choices = [start * (height_of / height) ** (1.0 / power) for _, _, start, height, power in self._pieces]
        tops = [height * (end / start) ** power for _, end, start, height, power in self._pieces]
        return duration_s * np.select([height_of <= top for top in tops], choices)

    def mean(self, log_s: np.ndarray, sigma: float, duration_s: np.ndarray) -> np.ndarray:
        """Mean watch time of a lognormal stay, ln stay ~ N(log_s, sigma): a partial moment of the lognormal a piece."""
        log_ratio = log_s - np.log(duration_s)
        total = np.zeros(np.broadcast_shapes(np.shape(log_s), np.shape(duration_s)))
        for begin, end, start, height, power in self._pieces:
            with np.errstate(divide="ignore"):
                low, high = ((np.log(edge) - log_ratio) / sigma - power * sigma for edge in (begin, end))
            moment = np.exp(power * log_ratio + 0.5 * (power * sigma) ** 2)
            total += height * start**-power * moment * (ndtr(high) - ndtr(low))
        return duration_s * total
