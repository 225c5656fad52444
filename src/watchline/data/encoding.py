"""From the feature table to arrays: category codes and scaled numbers, fitted on training rows alone.

B, N rows, F categorical columns, D numeric columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from pydantic import Field
from safetensors.numpy import load_file, save_file

from watchline.config import Config
from watchline.data.columns import Columns
from watchline.data.tables import chunks, num_rows

Table = pl.DataFrame | pl.LazyFrame
UNKNOWN = 0  # code of a null, of a value rare in training, and of a value training never saw
_FIT_ROWS = 1 << 18  # rows, evenly spaced, that quantiles of numbers are taken from; all of a smaller table
_PARTS = ("categorical_NF", "numeric_ND", "label_N", "per_N")


class TableEncoderConfig(Config):
    """How columns become arrays."""

    min_count: int = Field(default=5, ge=1, description="training rows a category needs for a code of its own")
    num_quantiles: int = Field(default=8, ge=1, description="parts of equal training rows that numbers are cut into")


@dataclass(frozen=True)
class EncodedTable:
    """Row-aligned arrays: categorical_NF int32 codes, numeric_ND float32, label_N float64 (None: no label).

    `per_N` float64: what the column of labels was divided by (None: by nothing), as watch time by duration gives the
    watch ratio. In memory (`TableEncoder.transform`) or memory-mapped files (`TableEncoder.write`).
    """

    categorical_NF: np.ndarray
    numeric_ND: np.ndarray
    label_N: np.ndarray | None = None
    per_N: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.categorical_NF)

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Memory-map what `TableEncoder.write` wrote; pages are read when rows are asked for."""
        paths = [directory / f"{part}.npy" for part in _PARTS]
        return cls(*(_open(path) if path.is_file() else None for path in paths))  # type: ignore[arg-type]

    def restore(self, values_N: np.ndarray) -> np.ndarray:
        """Values (N,) in the measure of `label_N` (labels or predictions) back in that of the column."""
        return values_N if self.per_N is None else values_N * self.per_N

    def restore_predictions(self, predicted: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """`median` (N,) in the column's measure, and what orders rows: `expected_rank`, or that median where labels are
        ratios, whose ranks order rows in another way than those of the column."""
        median_N = self.restore(predicted["median"])
        return median_N, predicted["expected_rank"] if self.per_N is None else median_N


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


@dataclass(frozen=True)
class Denominator:
    """The column that labels are divided by, and what stands in for a null or a value that is not above 0."""

    column: str
    otherwise: float

    @classmethod
    def fit(cls, column: str, values_N: np.ndarray) -> Self:
        """Fit on float64 `values_N`, NaN where null: the stand-in is the median of those above 0."""
        known = values_N[values_N > 0]
        if not len(known):
            raise ValueError(f"no training row has a {column} above 0, by which labels are to be divided")
        return cls(column, float(np.median(known)))

    def transform(self, values_N: np.ndarray) -> np.ndarray:
        """The values (N,), all above 0."""
        return np.where(values_N > 0, values_N, self.otherwise)


class TableEncoder:
    """Fitted coding of every feature column and of the label; final. The same rows always give the same arrays."""

    def __init__(
        self,
        columns: Columns,
        categories: dict[str, np.ndarray | list[str]],
        scalers: dict[str, NumericScaler],
        denominator: Denominator | None = None,
    ) -> None:
        self.columns = columns
        self.categories = categories  # per column its known values in ascending order; code = position + 1
        self.scalers = scalers
        self.denominator = denominator

    @classmethod
    def fit(cls, train: Table, columns: Columns, config: TableEncoderConfig, label_per: str = "") -> Self:
        """Fit on the training rows; raises ValueError when there are none and KeyError for a missing column.

        `label_per` names the column that labels are divided by, if any. Memory does not grow with the rows: categories
        are counted in a stream, and of more than 262,144 rows quantiles come from that many, evenly spaced.
        """
        table = train.lazy()
        rows = num_rows(table)
        if rows == 0:
            raise ValueError("no training rows to fit the encoder on; check window.* against the feature table")
        per = [label_per] if label_per else []
        _check_columns(table.collect_schema().names(), [*columns.categorical, *columns.numeric, *per])
        categories = {name: _frequent_values(table, name, config.min_count) for name in columns.categorical}
        sample = table.select(sorted({*columns.numeric, *per})).gather_every(-(-rows // _FIT_ROWS)).collect()
        scalers = {name: NumericScaler.fit(_numbers(sample[name]), config.num_quantiles) for name in columns.numeric}
        denominator = Denominator.fit(label_per, _numbers(sample[label_per])) if label_per else None
        return cls(columns, categories, scalers, denominator)

    @property
    def cardinalities(self) -> list[int]:
        """Codes per categorical column, the unknown one included."""
        return [len(values) + 1 for values in self.categories.values()]

    @property
    def num_numeric(self) -> int:
        """Columns of `numeric_ND`, null indicators included."""
        return sum(2 if scaler.has_null else 1 for scaler in self.scalers.values())

    def numeric_position(self, name: str) -> int:
        """Where in `numeric_ND` the numeric column of that name is; raises KeyError naming those there are."""
        if name not in self.scalers:
            raise KeyError(f"the table has no numeric column {name!r}; it has {', '.join(self.scalers) or 'none'}")
        before = list(self.scalers)[: list(self.scalers).index(name)]
        return sum(2 if self.scalers[other].has_null else 1 for other in before)

    def transform(self, table: pl.DataFrame) -> EncodedTable:
        """Encode rows in order; the label is None when the table has no label column. Raises KeyError for a feature."""
        return EncodedTable(self.codes(table), self._scaled(table), self.labels(table), self.denominators(table))

    def write(self, table: Table, directory: Path) -> EncodedTable:
        """`transform` a table of any length into memory-mapped files in `directory` (made if missing).

        Raises KeyError for a missing feature or label.
        """
        directory.mkdir(parents=True, exist_ok=True)
        table = table.lazy()
        _check_columns(table.collect_schema().names(), [self.columns.label])
        rows = num_rows(table)
        kinds = ((np.int32, len(self.categories)), (np.float32, self.num_numeric), (np.float64,), (np.float64,))
        parts = dict(zip(_PARTS if self.denominator else _PARTS[:3], kinds))
        arrays = {name: _create(directory / f"{name}.npy", kind, (rows, *of)) for name, (kind, *of) in parts.items()}
        start = 0
        for frame in chunks(table):
            encoded = self.transform(frame)
            for name, array in arrays.items():
                array[start : start + len(frame)] = getattr(encoded, name)
            start += len(frame)
        return EncodedTable.open(directory)

    def codes(self, table: pl.DataFrame) -> np.ndarray:
        """Category codes (N, F), int32."""
        _check_columns(table.columns, self.columns.categorical)
        codes = np.zeros((len(table), len(self.categories)), dtype=np.int32)
        for i, (name, values) in enumerate(self.categories.items()):
            codes[:, i] = _codes(table[name], values)
        return codes

    def labels(self, table: pl.DataFrame) -> np.ndarray | None:
        """Labels (N,), float64, or None; divided by the denominator where there is one."""
        if self.columns.label not in table.columns:
            return None
        label_N, per_N = table[self.columns.label].to_numpy().astype(np.float64), self.denominators(table)
        return label_N if per_N is None else label_N / per_N

    def denominators(self, table: pl.DataFrame) -> np.ndarray | None:
        """What labels are divided by (N,), float64 above 0, or None; raises KeyError when the column is missing."""
        if self.denominator is None:
            return None
        _check_columns(table.columns, [self.denominator.column])
        return self.denominator.transform(_numbers(table[self.denominator.column]))

    def numbers(self, table: pl.DataFrame) -> np.ndarray:
        """Numeric columns as they are (N, columns), float64, NaN where null or not finite."""
        _check_columns(table.columns, self.columns.numeric)
        parts = [_numbers(table[name])[:, None] for name in self.scalers]
        return np.concatenate([np.zeros((len(table), 0)), *parts], axis=1)

    def _scaled(self, table: pl.DataFrame) -> np.ndarray:
        _check_columns(table.columns, self.columns.numeric)
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
            "denominator": vars(self.denominator) if self.denominator else None,
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
            denominator = Denominator(**values["denominator"]) if values["denominator"] else None
        except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path}: not a saved encoder ({error!r}); `dvc checkout` restores the model") from error
        return cls(columns, categories, scalers, denominator)


def _scaler(values: dict[str, Any]) -> NumericScaler:
    return NumericScaler(tuple(values["knots"]), values["has_null"])


def _create(path: Path, kind: type, shape: tuple[int, ...]) -> np.ndarray:
    """A writable array in a file; one without elements, which cannot be mapped, is saved as it is."""
    if 0 in shape:
        np.save(path, np.zeros(shape, kind))
        return np.zeros(shape, kind)
    mapped: np.ndarray = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)
    return mapped


def _open(path: Path) -> np.ndarray:
    try:
        mapped: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError:  # an array without elements
        mapped = np.load(path, allow_pickle=False)
    return mapped


def _check_columns(present: Sequence[str], names: Sequence[str]) -> None:
    missing = [name for name in names if name not in present]
    if missing:
        raise KeyError(f"the table lacks columns {', '.join(missing)}; run the features stage anew")


def _category_type(name: str, kind: pl.DataType) -> type[pl.DataType]:
    if kind in (pl.Boolean, pl.Null) or kind.is_integer():
        return pl.Int64
    if kind in (pl.String, pl.Categorical, pl.Enum):
        return pl.String
    raise ValueError(f"column {name!r} is {kind}; a category must be an integer, a boolean or a string")


def _frequent_values(table: pl.LazyFrame, name: str, min_count: int) -> np.ndarray | list[str]:
    kind = _category_type(name, table.collect_schema()[name])
    counts = table.select(pl.col(name).cast(kind).alias("value")).drop_nulls().group_by("value").len()
    values = counts.filter(pl.col("len") >= min_count).collect(engine="streaming")["value"].sort()
    return values.to_list() if kind == pl.String else values.to_numpy().astype(np.int64)


def _codes(column: pl.Series, values: np.ndarray | list[str]) -> np.ndarray:
    column = column.cast(_category_type(column.name, column.dtype))
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
