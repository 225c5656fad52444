"""From the feature table to arrays: category codes and scaled numbers, fitted on training rows alone.

B, N rows, F categorical columns, D numeric columns.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from pydantic import Field
from safetensors.numpy import load_file, save_file

from watchline.config import Config
from watchline.data.columns import Columns

UNKNOWN = 0  # code of a null, of a value rare in training, and of a value training never saw


class TableEncoderConfig(Config):
    """How columns become arrays."""

    min_count: int = Field(default=5, ge=1, description="training rows a category needs for a code of its own")
    num_quantiles: int = Field(default=8, ge=1, description="parts of equal training rows that numbers are cut into")


@dataclass(frozen=True)
class EncodedTable:
    """Row-aligned arrays: categorical_NF int64 codes, numeric_ND float32, label_N float64 seconds (None: no label)."""

    categorical_NF: np.ndarray
    numeric_ND: np.ndarray
    label_N: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.categorical_NF)


@dataclass(frozen=True)
class NumericScaler:
    """Piecewise-linear map of a column onto 0 to 1 between its training quantiles, with an indicator of nulls.

    Quantiles make one scale of seconds, counts and shares, whatever their tails. The indicator column is there
    only where training had nulls.
    """

    knots: tuple[float, ...]  # ascending, at least two
    has_null: bool

    @classmethod
    def fit(cls, values_N: np.ndarray, num_quantiles: int) -> Self:
        """Fit on float64 `values_N`, NaN where null."""
        known = values_N[~np.isnan(values_N)]
        has_null = len(known) < len(values_N)
        knots = np.unique(np.quantile(known, np.linspace(0, 1, num_quantiles + 1))) if len(known) else np.zeros(1)
        if len(knots) == 1:
            knots = knots[0] + np.array([-0.5, 0.5])
        return cls(tuple(knots.tolist()), has_null)

    def transform(self, values_N: np.ndarray) -> np.ndarray:
        """Scaled values, a null at 0.5; (N, 2) with the null indicator or (N, 1) without, float64."""
        unknown = np.isnan(values_N)
        places = np.linspace(0, 1, len(self.knots))
        scaled = np.where(unknown, 0.5, np.interp(np.where(unknown, self.knots[0], values_N), self.knots, places))
        return np.stack([scaled, unknown], axis=1) if self.has_null else scaled[:, None]


class TableEncoder:
    """Fitted coding of every feature column; final. The same rows always give the same arrays."""

    def __init__(
        self, columns: Columns, categories: dict[str, np.ndarray | list[str]], scalers: dict[str, NumericScaler]
    ) -> None:
        self.columns = columns
        self.categories = categories  # per column its known values in ascending order; code = position + 1
        self.scalers = scalers

    @classmethod
    def fit(cls, train: pl.DataFrame, columns: Columns, config: TableEncoderConfig) -> Self:
        """Fit on the training rows; raises ValueError when there are none and KeyError for a missing column."""
        if train.is_empty():
            raise ValueError("no training rows to fit the encoder on; check window.* against the feature table")
        _check_columns(train, [*columns.categorical, *columns.numeric])
        categories = {name: _frequent_values(train[name], config.min_count) for name in columns.categorical}
        scalers = {name: NumericScaler.fit(_numbers(train[name]), config.num_quantiles) for name in columns.numeric}
        return cls(columns, categories, scalers)

    @property
    def cardinalities(self) -> list[int]:
        """Codes per categorical column, the unknown one included."""
        return [len(values) + 1 for values in self.categories.values()]

    @property
    def num_numeric(self) -> int:
        """Columns of `numeric_ND`, null indicators included."""
        return sum(2 if scaler.has_null else 1 for scaler in self.scalers.values())

    def transform(self, table: pl.DataFrame) -> EncodedTable:
        """Encode rows in order; the label is None when the table has no label column. Raises KeyError for a feature."""
        return EncodedTable(self.codes(table), self._scaled(table), self.labels(table))

    def codes(self, table: pl.DataFrame) -> np.ndarray:
        """Category codes (N, F), int64."""
        _check_columns(table, self.columns.categorical)
        codes = np.zeros((len(table), len(self.categories)), dtype=np.int64)
        for i, (name, values) in enumerate(self.categories.items()):
            codes[:, i] = _codes(table[name], values)
        return codes

    def labels(self, table: pl.DataFrame) -> np.ndarray | None:
        """Labels (N,), float64 seconds, or None."""
        if self.columns.label not in table.columns:
            return None
        return table[self.columns.label].to_numpy().astype(np.float64)

    def numbers(self, table: pl.DataFrame) -> np.ndarray:
        """Numeric columns as they are (N, columns), float64, NaN where null or not finite."""
        _check_columns(table, self.columns.numeric)
        parts = [_numbers(table[name])[:, None] for name in self.scalers]
        return np.concatenate([np.zeros((len(table), 0)), *parts], axis=1)

    def _scaled(self, table: pl.DataFrame) -> np.ndarray:
        _check_columns(table, self.columns.numeric)
        parts = [scaler.transform(_numbers(table[name])) for name, scaler in self.scalers.items()]
        return np.concatenate([np.zeros((len(table), 0)), *parts], axis=1).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """Everything but the integer categories, which `save` puts into a safetensors file."""
        return {
            "columns": {
                "label": self.columns.label,
                "keys": list(self.columns.keys),
                "categorical": list(self.columns.categorical),
                "numeric": list(self.columns.numeric),
            },
            "strings": {name: values for name, values in self.categories.items() if isinstance(values, list)},
            "scalers": {name: vars(scaler) for name, scaler in self.scalers.items()},
        }

    def save(self, directory: Path) -> None:
        """Write encoder.json and encoder.safetensors into `directory` (made if missing)."""
        directory.mkdir(parents=True, exist_ok=True)
        integers = {name: values for name, values in self.categories.items() if isinstance(values, np.ndarray)}
        save_file(integers, directory / "encoder.safetensors")
        (directory / "encoder.json").write_text(json.dumps(self.to_json(), indent=1, sort_keys=True) + "\n")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote; raises ValueError naming the file that is missing or not an encoder's."""
        path = directory / "encoder.json"
        try:
            values = json.loads(path.read_text())
            integers = load_file(directory / "encoder.safetensors")
            names = values["columns"]
            columns = Columns(names["label"], *(tuple(names[key]) for key in ("keys", "categorical", "numeric")))
            known = {**integers, **values["strings"]}
            categories = {name: known[name] for name in columns.categorical}
            scalers = {name: _scaler(values["scalers"][name]) for name in columns.numeric}
        except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path}: not a saved encoder ({error!r}); `dvc checkout` restores the model") from error
        return cls(columns, categories, scalers)


def _scaler(values: dict[str, Any]) -> NumericScaler:
    return NumericScaler(tuple(values["knots"]), values["has_null"])


def _check_columns(table: pl.DataFrame, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise KeyError(f"the table lacks feature columns {', '.join(missing)}; run the features stage anew")


def _integers_or_strings(column: pl.Series) -> pl.Series:
    if column.dtype in (pl.Boolean, pl.Null) or column.dtype.is_integer():
        return column.cast(pl.Int64)
    if column.dtype in (pl.String, pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    raise ValueError(f"column {column.name!r} is {column.dtype}; a category must be an integer, a boolean or a string")


def _frequent_values(column: pl.Series, min_count: int) -> np.ndarray | list[str]:
    column = _integers_or_strings(column).drop_nulls()
    counts = column.value_counts(name="rows").filter(pl.col("rows") >= min_count)
    values = counts[column.name].sort()
    return values.to_list() if values.dtype == pl.String else values.to_numpy().astype(np.int64)


def _codes(column: pl.Series, values: np.ndarray | list[str]) -> np.ndarray:
    column = _integers_or_strings(column)
    if (column.dtype == pl.String) != isinstance(values, list) and column.null_count() < len(column) and len(values):
        raise ValueError(f"column {column.name!r} is {column.dtype}, another type than the encoder was fitted on")
    if len(values) == 0 or column.null_count() == len(column):
        return np.zeros(len(column), dtype=np.int64)
    if isinstance(values, list):
        codes = column.cast(pl.Enum(values), strict=False).to_physical().cast(pl.Int64) + 1
        return codes.fill_null(UNKNOWN).to_numpy()
    numbers = column.fill_null(values[0] - 1).to_numpy()
    position = np.minimum(np.searchsorted(values, numbers), len(values) - 1)
    return np.where(values[position] == numbers, position + 1, UNKNOWN)


def _numbers(column: pl.Series) -> np.ndarray:
    numbers = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return np.where(np.isfinite(numbers), numbers, np.nan)
