"""The window of days a run works on, and how it is cut into splits by time."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
from pydantic import Field

from watchline.config import Config

SPLITS = ("train", "valid", "finetune", "eval")


class Window(Config):
    """Consecutive local days counted back from `end` (inclusive): train, valid, finetune, eval, none overlapping.

    Days of the source before the first training day feed trailing statistics only.
    """

    end: date = Field(description="last local day, inclusive; the last day of `eval`")
    eval_days: int = Field(ge=1)
    finetune_days: int = Field(ge=0)
    valid_days: int = Field(ge=1)
    train_days: int = Field(ge=1)

    @property
    def ranges(self) -> dict[str, tuple[date, date]]:
        """First and last day (both inclusive) of each split; a split of no days is absent."""
        ranges: dict[str, tuple[date, date]] = {}
        last = self.end
        for split in reversed(SPLITS):
            num_days = getattr(self, f"{split}_days")
            if num_days:
                ranges[split] = (last - timedelta(days=num_days - 1), last)
                last -= timedelta(days=num_days)
        return dict(reversed(ranges.items()))

    @property
    def start(self) -> date:
        """First day of `train`."""
        return next(iter(self.ranges.values()))[0]

    @property
    def days(self) -> list[date]:
        """Every day of the window in order."""
        return [self.start + timedelta(days=i) for i in range((self.end - self.start).days + 1)]

    def split_days(self, *splits: str) -> list[date]:
        """The days of the named splits in order; raises KeyError for a split that has no days."""
        ranges = self.ranges
        days = []
        for split in splits:
            if split not in ranges:
                raise KeyError(f"window has no {split!r} days; set window.{split}_days to at least 1")
            first, last = ranges[split]
            days += [first + timedelta(days=i) for i in range((last - first).days + 1)]
        return days

    def of_day(self) -> pl.Expr:
        """Name of the split that `date` falls in (null outside the window), as an expression on a `date` column."""
        expression = pl.lit(None, dtype=pl.String)
        for split, (first, last) in self.ranges.items():
            expression = pl.when(pl.col("date").is_between(first, last)).then(pl.lit(split)).otherwise(expression)
        return expression
