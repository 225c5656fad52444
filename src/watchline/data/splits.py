"""The window of days a run works on, and how it is cut into splits by time."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Literal, Self

import polars as pl
from pydantic import Field, model_validator

from watchline.config import Config

SPLITS = ("train", "valid", "finetune", "eval")


class RowSplit(Config):
    """A published protocol's split of the window's rows, whatever their day. Finetuning goes on with the training rows.

    random: by a hash of user, video and time, so that no other row changes a row's split and copies stay together;
    chronological: by time, equal times together; unbiased: eval is the is_random rows, whose video no policy chose.
    """

    kind: Literal["random", "chronological", "unbiased"]
    valid_share: float = Field(gt=0, lt=1, description="of the rows (unbiased: of those that are not eval)")
    eval_share: float = Field(ge=0, lt=1, description="of the rows; 0 for unbiased")
    seed: int = Field(default=1, ge=0, lt=2**31)
    known_ids: bool = Field(default=False, description="leave out valid and eval rows of ids without a training row")

    @model_validator(mode="after")
    def _shares_leave_training_rows(self) -> Self:
        if self.valid_share + self.eval_share >= 1:
            raise ValueError("valid_share and eval_share leave no training rows; their sum must be below 1")
        if (self.eval_share == 0) != (self.kind == "unbiased"):
            raise ValueError("eval_share is 0 for unbiased and above 0 for the others")
        return self

    @property
    def described(self) -> dict[str, str]:
        """For people: which rows each split has."""
        if self.kind == "unbiased":
            others = "of the rows whose video a policy chose"
            shares = {"train": 1 - self.valid_share, "valid": self.valid_share}
            drawn = {split: f"{share:.0%} {others}, drawn at random" for split, share in shares.items()}
            return drawn | {"eval": "the rows whose video was drawn at random"}
        shares = {"train": 1 - self.valid_share - self.eval_share, "valid": self.valid_share, "eval": self.eval_share}
        if self.kind == "random":
            return {split: f"{share:.0%} of the rows, drawn at random," for split, share in shares.items()}
        places = {"train": "the first", "valid": "the next", "eval": "the last"}
        return {split: f"{places[split]} {share:.0%} of the rows" for split, share in shares.items()}

    def cuts(self, times: pl.Series) -> tuple[datetime, datetime]:
        """First moments of valid and of eval for chronological, from all rows' times; raises ValueError without any."""
        if times.is_empty():
            raise ValueError("window.rows: no row to split; check window.* against the days there are")
        ordered = times.sort()
        shares = (1 - self.eval_share - self.valid_share, 1 - self.eval_share)
        valid, evaluated = (ordered[min(len(ordered) - 1, round(share * len(ordered)))] for share in shares)
        return valid, evaluated

    def of_row(self, cuts: tuple[datetime, datetime] | None = None) -> pl.Expr:
        """Name of a row's split, on user_id, video_id, exposed_at and is_random; `cuts` for chronological alone."""
        if self.kind == "chronological":
            assert cuts is not None
            is_valid, is_eval = (pl.col("exposed_at") >= cut for cut in cuts)
        else:
            chance = _chance(self.seed)
            is_eval = chance < round(self.eval_share * _RANGE)
            is_valid = chance < round((self.eval_share + self.valid_share) * _RANGE)
            if self.kind == "unbiased":
                is_eval = pl.col("is_random").fill_null(False)
        later = pl.when(is_valid).then(pl.lit("valid")).otherwise(pl.lit("train"))
        return pl.when(is_eval).then(pl.lit("eval")).otherwise(later)


class Window(Config):
    """Consecutive local days counted back from `end` (inclusive): train, valid, finetune, eval, none overlapping.

    Days of the source before the first training day feed trailing statistics only.
    """

    end: date = Field(description="last local day, inclusive; the last day of `eval`")
    eval_days: int = Field(ge=1)
    finetune_days: int = Field(ge=0)
    valid_days: int = Field(ge=1)
    train_days: int = Field(ge=1)
    rows: RowSplit | None = Field(default=None, description="a split of the window's rows in place of the one by day")

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
    def described(self) -> dict[str, str]:
        """For people: the days of each split, or which of the window's rows it has."""
        if self.rows is None:
            return {split: f"{first} to {last}" for split, (first, last) in self.ranges.items()}
        return {split: f"{rows} of {self.start} to {self.end}" for split, rows in self.rows.described.items()}

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


_RANGE = 2**31


def _chance(seed: int) -> pl.Expr:
    """A whole number of [0, 2^31) from a row's user, video and time, as good as drawn; the same in every run."""
    row = pl.struct("user_id", "video_id", pl.col("exposed_at").dt.epoch("us"))
    return row.map_batches(lambda rows: _mixed(rows, seed), return_dtype=pl.Int64, is_elementwise=True)


def _mixed(rows: pl.Series, seed: int) -> pl.Series:
    """Multiply and fold the low and high words of each field of `rows` (struct); products stay below 2^63."""
    mask = _RANGE - 1
    state = pl.repeat(seed, len(rows), dtype=pl.Int64, eager=True)
    for part in rows.struct.unnest().get_columns():
        for word in (part & mask, (part // _RANGE) & mask):
            state = state ^ word
            for shift in (2**16, 2**15):
                state = ((state ^ (state // shift)) * 0x45D9F3B) & mask
            state = state ^ (state // 2**16)
    return state
