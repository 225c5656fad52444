"""Hashes of rows, to say whether some of a table's are what they were without keeping them."""

from __future__ import annotations

import numpy as np
import polars as pl


def hash_rows(frame: pl.DataFrame) -> pl.Series:
    """A hash of each row (UInt64), the same in every process of a version of Polars."""
    # Hashed once more, because a sum of what hash_rows mixes could cancel when rows swap values.
    return frame.hash_rows(seed=0).hash(seed=1)


def sum_hashes(frame: pl.DataFrame) -> int:
    """Sum of the hashes modulo 2^64: of the rows in whatever order."""
    return int(hash_rows(frame).to_numpy().sum(dtype=np.uint64))


class KeyedHashes:
    """A hash of each row of a table by the row's key."""

    def __init__(self, table: pl.DataFrame, key: str) -> None:
        self.key = key
        self._table = table.select(key).with_columns(hash_rows(table).alias("__hash"))

    def sum_of(self, keys: pl.Series) -> int:
        """Sum modulo 2^64 over the rows of the keys that stand in `keys`, each once."""
        wanted = keys.unique().alias(self.key).to_frame()
        found = self._table.join(wanted, on=self.key, how="semi")
        return int(found["__hash"].to_numpy().sum(dtype=np.uint64))
