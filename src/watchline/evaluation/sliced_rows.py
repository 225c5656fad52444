"""The slices of the eval rows as a table, so that predictions can be cut again without the features."""

from __future__ import annotations

import numpy as np
import polars as pl

from watchline.evaluation.measure import Slices

ROW = "exposure_id"


def to_table(exposure_id: pl.Series, slices: list[Slices]) -> pl.DataFrame:
    """One row an exposure: its id, and in a column named as each slice is the name of its bucket (null for none)."""
    columns = {}
    for part in slices:
        names = pl.Series([*part.names, None], dtype=pl.Enum(part.names))
        columns[part.title] = names.gather(np.where(part.bucket < 0, len(part.names), part.bucket))
    return pl.DataFrame({ROW: exposure_id, **columns})


def from_table(table: pl.DataFrame) -> list[Slices]:
    """What `to_table` was given, without the notes; raises ValueError naming a column that holds no buckets."""
    found = []
    for column in table.drop(ROW).iter_columns():
        if not isinstance(column.dtype, pl.Enum):
            raise ValueError(f"column {column.name!r} of the slices is {column.dtype}, not names of buckets")
        bucket = column.to_physical().cast(pl.Int64).fill_null(-1).to_numpy()
        found.append(Slices(column.name, np.asarray(bucket), column.dtype.categories.to_list()))
    return found
