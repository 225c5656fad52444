"""Spark gives what Polars gives: row rules, ids and daily statistics, on generated rows and on the real excerpt."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
import yaml
from polars.testing import assert_frame_equal

from tests.helpers.canonical import write_canonical
from tests.helpers.clean import LIMITS, ROOT
from watchline.config import parse
from watchline.data import rules
from watchline.data.day_cache import DayCache
from watchline.data.schema import EXPOSURE_ID, EXPOSURES, SORT_KEY
from watchline.data.screening import Source, screen_tables
from watchline.data.sources import kuairand
from watchline.data.sources.writing import write_source
from watchline.data.splits import Window
from watchline.data.tables import day_path, days_on_disk, read_days, read_parquet
from watchline.feature_store.groups import GROUPS
from watchline.feature_store.sources import keys_of_videos

pytest.importorskip("pyspark", reason="pyspark is not installed: `make test-spark`")

from watchline.spark import row_rules, statistics
from watchline.spark.kernels import spark_schema, to_polars

EXCERPT = ROOT.parent / "shared/data/kuairand-pure-10d"
BUCKETS = 5


def generated(directory: Path) -> Path:
    ingest = write_canonical(directory / "ingest", days=4, exposures=3000)
    path = day_path(ingest / "exposures", days_on_disk(ingest / "exposures")[1])
    broken(pl.read_parquet(path)).write_parquet(path)
    return ingest


def broken(table: pl.DataFrame) -> pl.DataFrame:
    """Rows that break each rule, several at once too, between good ones."""
    rows = table.with_row_index("at").with_columns(pl.col("at") % 40)
    null, nan = pl.lit(None), float("nan")
    rows = rows.with_columns(
        user_id=pl.when(pl.col("at") == 1).then(null).when(pl.col("at") == 2).then(-7).otherwise("user_id"),
        video_id=pl.when(pl.col("at") == 3).then(-7).otherwise("video_id"),
        watch_time_s=pl.when(pl.col("at").is_in([2, 4])).then(-1.0).otherwise("watch_time_s"),
        duration_s=pl.when(pl.col("at") == 5).then(nan).when(pl.col("at") == 6).then(null).otherwise("duration_s"),
        exposed_at=pl.when(pl.col("at") == 7).then(pl.col("exposed_at") + timedelta(days=90)).otherwise("exposed_at"),
    ).drop("at")
    return pl.concat([rows, rows.gather_every(17)]).select(*EXPOSURES)


def excerpt(directory: Path) -> Path:
    if not EXCERPT.is_dir():
        pytest.skip(f"no KuaiRand excerpt at {EXCERPT}")
    config = yaml.safe_load((ROOT / "conf/ingest/kuairand.yaml").read_text())["ingest"]
    write_source(
        kuairand.read(EXCERPT, parse(kuairand.KuaiRandConfig, config, "ingest")), "kuairand", directory / "ingest"
    )
    return directory / "ingest"


@pytest.fixture(scope="module", params=[generated, pytest.param(excerpt, marks=pytest.mark.slow)])
def ingest(request, tmp_path_factory) -> Path:
    return request.param(tmp_path_factory.mktemp("spark"))


@pytest.fixture(scope="module")
def screened(ingest, tmp_path_factory):
    """The screening of Polars, and the folder it wrote."""
    days, out = days_on_disk(ingest / "exposures"), tmp_path_factory.mktemp("clean")
    window = Window(end=days[-1], eval_days=1, finetune_days=0, valid_days=1, train_days=1)
    cache = DayCache(tmp_path_factory.mktemp("cache"), "code")
    return screen_tables(ingest, out, LIMITS, window, Source.read(ingest / "source.json"), 10**7, cache=cache), out


def rules_of(ingest: Path, clean: Path) -> list[rules.RowRule]:
    source = Source.read(ingest / "source.json")
    users, videos = (read_parquet(clean / f"{name}.parquet") for name in ("users", "videos"))
    last = days_on_disk(ingest / "exposures")[-1]
    return rules.exposure_rules(
        LIMITS, last, source.utc_offset_hours, users["user_id"], videos["video_id"], source.filled["exposures"]
    )


def test_the_same_rows_are_clean_and_quarantined_with_the_same_rules_counts_and_ids(spark, ingest, screened):
    theirs, clean_dir = screened
    table = row_rules.read_exposures(spark, [str(ingest / "exposures")])
    ours = row_rules.screen(table, rules_of(ingest, clean_dir), BUCKETS)
    assert ours.counts == theirs.counts["exposures"]
    assert sum(count > 0 for count in ours.counts.values()) >= 2
    expected = read_days(clean_dir / "exposures", days_on_disk(clean_dir / "exposures"))
    clean = to_polars(row_rules.identified(ours.clean), expected.schema).sort(EXPOSURE_ID)
    assert_frame_equal(clean, expected)
    order = [*SORT_KEY, "date", "rules"]
    quarantined = to_polars(ours.quarantined, row_rules.SCREENED).sort(order)
    assert_frame_equal(
        quarantined, pl.concat(theirs.quarantined_rows("exposures")).select(quarantined.columns).sort(order)
    )
    assert row_rules.rows_by_day(ours.clean) == dict(expected.group_by("date").len().rows())


def test_the_sums_of_every_day_are_those_of_polars(spark, ingest, screened):
    _, clean_dir = screened
    offset = Source.read(ingest / "source.json").utc_offset_hours
    days = days_on_disk(clean_dir / "exposures")
    videos = keys_of_videos(read_parquet(clean_dir / "videos.parquet"))
    with_keys = read_days(clean_dir / "exposures", days).join(videos, on="video_id", how="left", maintain_order="left")
    on_spark = statistics.keyed(
        spark.read.parquet(*(str(day_path(clean_dir / "exposures", day)) for day in days)),
        spark.createDataFrame(videos.to_arrow(compat_level=pl.CompatLevel.oldest()), spark_schema(videos.schema)),
    )
    ours = statistics.sums_by_day(on_spark, offset, BUCKETS)
    for group in GROUPS:
        expected = statistics.in_polars(with_keys, group, offset)
        found = to_polars(ours[group.name], expected.schema).sort(statistics.DAY, *group.keys)
        assert len(expected) > 0, group.name
        assert_frame_equal(found, expected)


def test_a_type_that_no_canonical_table_has_is_named():
    with pytest.raises(ValueError, match="tags: List"):
        spark_schema({"tags": pl.List(pl.String)})
