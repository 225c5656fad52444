"""Running the line's Polars code on the rows that Spark brings together: one definition, so one result.

Workers need this package and its requirements. Times are UTC on both sides.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sf
from pyspark.sql import types as st

import watchline

Kernel = Callable[[pl.DataFrame], pl.DataFrame]

_TYPES: dict[type[pl.DataType], st.DataType] = {
    pl.Int64: st.LongType(),
    pl.Float64: st.DoubleType(),
    pl.String: st.StringType(),
    pl.Boolean: st.BooleanType(),
    pl.Date: st.DateType(),
    pl.Datetime: st.TimestampType(),
}


def local_session(cores: int = 2, memory: str = "2g") -> SparkSession:
    """Spark on this machine, for tests and small tables; a cluster's session comes from `spark-submit`."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master(f"local[{cores}]").appName("watchline")
    settings = {
        "spark.driver.memory": memory,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": str(2 * cores),
        "spark.sql.session.timeZone": "UTC",
        "spark.executorEnv.PYTHONPATH": str(Path(watchline.__file__).parents[1]),
        "spark.executorEnv.POLARS_MAX_THREADS": "1",  # a core runs a task
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def spark_schema(schema: Mapping[str, pl.DataType | type[pl.DataType]]) -> st.StructType:
    """The Spark types of Polars columns; raises ValueError for a type that the tables do not have."""
    fields = []
    for name, dtype in schema.items():
        kind = dtype if isinstance(dtype, type) else type(dtype)
        if dtype == pl.List(pl.Int64):
            fields.append(st.StructField(name, st.ArrayType(st.LongType())))
            continue
        if kind not in _TYPES:
            raise ValueError(f"{name}: {dtype} has no Spark type; there are {', '.join(map(str, _TYPES))}")
        fields.append(st.StructField(name, _TYPES[kind]))
    return st.StructType(fields)


def grouped(rows: DataFrame, keys: list[str], buckets: int, kernel: Kernel, schema: pl.Schema) -> DataFrame:
    """`kernel` of each set of rows; rows with equal `keys` are in one set, of at most `buckets`; in no order.

    `schema` is the kernel's result: columns in order. A set must fit into a worker's memory: `buckets` makes it small.
    """
    bucket = sf.pmod(sf.xxhash64(*keys), sf.lit(buckets))

    def run(table: pa.Table) -> pa.Table:
        result = kernel(pl.DataFrame(pl.from_arrow(table)))
        table = result.select(schema.names()).cast(dict(schema)).to_arrow(compat_level=pl.CompatLevel.oldest())
        return table.cast(pa.schema([_plain(field) for field in table.schema]))

    return rows.groupBy(bucket).applyInArrow(run, spark_schema(schema))


def _plain(field: pa.Field) -> pa.Field:
    """The field with Spark's strings and lists, which have 32-bit offsets."""
    if pa.types.is_large_list(field.type):
        return field.with_type(pa.list_(field.type.value_type))
    return field.with_type(pa.string()) if pa.types.is_large_string(field.type) else field


def to_polars(rows: DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """The rows on this machine, in Polars' types."""
    return pl.DataFrame(pl.from_arrow(rows.toArrow())).select(schema.names()).cast(dict(schema))
