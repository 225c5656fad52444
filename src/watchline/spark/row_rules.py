"""The row rules of validate on Spark: the rules of `data.rules`, a table of exposures that no machine holds at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as sf

from watchline.data import rules
from watchline.data.rules import RowRule
from watchline.data.schema import EXPOSURE_ID, EXPOSURES, SORT_KEY
from watchline.spark.kernels import grouped, spark_schema

_LABELS = {"rule": pl.String, "rules": pl.String}
SCREENED = pl.Schema(EXPOSURES | _LABELS)


@dataclass(frozen=True)
class SparkScreened:
    """As `rules.Screened`, with tables on Spark; the counts have been taken."""

    clean: DataFrame
    quarantined: DataFrame
    counts: dict[str, int]


def read_exposures(spark: SparkSession, files: Sequence[str]) -> DataFrame:
    """The canonical exposures of Parquet files or folders of them."""
    return spark.read.schema(spark_schema(EXPOSURES)).parquet(*files)


def screen(table: DataFrame, row_rules: Sequence[RowRule], buckets: int) -> SparkScreened:
    """Split exposures by the rules of `rules.exposure_rules`, as `rules.screen` does with each day.

    Rules look at a row and, for duplicates, at the rows of its user and day: those come together in one of `buckets`
    sets. The result is cached; `clean.unpersist()` is the caller's.
    """

    def kernel(rows: pl.DataFrame) -> pl.DataFrame:
        screened = rules.screen(rows, row_rules)
        clean = screened.clean.with_columns(pl.lit(None, pl.String).alias(name) for name in _LABELS)
        return pl.concat([clean, screened.quarantined])

    labelled = grouped(table.select(*EXPOSURES), ["date", "user_id"], buckets, kernel, SCREENED).cache()
    broken = labelled.where(sf.col("rule").isNotNull())
    found = broken.select(sf.explode(sf.split("rules", ",")).alias("rule")).groupBy("rule").count().collect()
    counts = dict.fromkeys((rule.name for rule in row_rules), 0) | {row["rule"]: row["count"] for row in found}
    return SparkScreened(labelled.where(sf.col("rule").isNull()).drop(*_LABELS), broken, counts)


def identified(clean: DataFrame) -> DataFrame:
    """Clean exposures with the ids that validate gives: YYYYMMDD * 10**9 + position within the day, in its order."""
    order = Window.partitionBy("date").orderBy(*(sf.col(name).asc_nulls_first() for name in SORT_KEY))
    first = sf.date_format("date", "yyyyMMdd").cast("long") * 10**9
    numbered = clean.withColumn(EXPOSURE_ID, first + sf.row_number().over(order) - 1)
    return numbered.select(EXPOSURE_ID, *EXPOSURES)


def rows_by_day(clean: DataFrame) -> dict[date, int]:
    """Clean rows of every day that has any."""
    return {row["date"]: row["count"] for row in clean.groupBy("date").count().orderBy("date").collect()}
