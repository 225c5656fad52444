"""The embedded source: exposures drawn from a known law, with the defects of a real log at its rates.

config.py       what can be set
parameters.py   the numbers of the law (surfaces, hours, tastes and how they drift)
population.py   users and videos, in cohorts by day of arrival: hidden state and visible tables
law.py          the conditional distribution of watch time: sample, mean, CDF, quantiles, save and load
generate.py     one local day of exposures
source.py       the adapter that ingest calls
"""

from __future__ import annotations

from watchline.data.synthetic.config import SyntheticConfig
from watchline.data.synthetic.law import Law

__all__ = ["Law", "SyntheticConfig"]
