"""KuaiRand-1K and -27K: the same tables in other files, the 27K ones in parts."""

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.helpers import kuairand_files as files
from watchline.data.schema import SORT_KEY
from watchline.data.sources.base import SourceError, SourceTables
from watchline.data.sources.kuairand import KuaiRandConfig, read

PERIODS = ("4_08_to_4_21", "4_22_to_5_08")


def write_variant(folder: Path, variant: str, parts: int) -> None:
    """Files of `variant`; the standard logs, and the statistics that nobody may read, in so many parts (1: none)."""
    tables = files.generated(exposures=20_000)
    rows = files.exposures_of(tables)
    shown = files.log_frame(rows.filter(~pl.col("is_random")))
    folder.mkdir(parents=True, exist_ok=True)
    pieces = [(period, part) for period in PERIODS for part in range(parts)]
    for number, (period, part) in enumerate(pieces):
        suffix = f"_part{part + 1}" if parts > 1 else ""
        share = shown.gather_every(len(pieces), number)
        share.write_csv(folder / f"log_standard_{period}_{variant}{suffix}.csv")
        (folder / f"video_features_statistic_{variant}{suffix}.csv").write_bytes(b"\xff\x00 not to be read")
    files.log_frame(rows.filter(pl.col("is_random"))).write_csv(folder / f"log_random_{PERIODS[1]}_{variant}.csv")
    files.users_frame(tables.users).write_csv(folder / f"user_features_{variant}.csv")
    files.videos_frame(tables.videos).write_csv(folder / f"video_features_basic_{variant}.csv")


def read_path(path: Path, **settings: bool) -> SourceTables:
    return read(path, KuaiRandConfig(source="kuairand", path=str(path), **settings))


@pytest.mark.parametrize(("variant", "parts"), [("1k", 1), ("27k", 2), ("27k", 3)])
def test_all_logs_of_a_variant_are_one_table(tmp_path, variant, parts):
    write_variant(tmp_path / "data", variant, parts)
    tables, expected = read_path(tmp_path), files.generated(exposures=20_000)
    rows, written = files.exposures_of(tables).sort(SORT_KEY), files.exposures_of(expected).sort(SORT_KEY)
    assert rows["is_random"].any()
    assert_frame_equal(rows, written, check_exact=True)
    assert_frame_equal(tables.users, expected.users, check_exact=True)
    assert_frame_equal(tables.videos, expected.videos, check_exact=True)
    assert tables.unparsable.is_empty()


def test_a_video_table_in_parts_is_one_table(tmp_path):
    write_variant(tmp_path, "27k", 2)
    whole = tmp_path / "video_features_basic_27k.csv"
    frame = pl.read_csv(whole, infer_schema=False)
    frame[:100].write_csv(tmp_path / "video_features_basic_27k_part1.csv")
    frame[100:].write_csv(tmp_path / "video_features_basic_27k_part2.csv")
    whole.unlink()
    assert_frame_equal(read_path(tmp_path).videos, files.generated(exposures=20_000).videos, check_exact=True)


def test_the_archive_of_a_variant_in_parts_reads_like_its_folder(tmp_path):
    write_variant(tmp_path / "27k/data", "27k", 2)
    archive = files.pack(tmp_path / "27k", tmp_path / "copy.tar.gz", "KuaiRand-27K")
    rows = [files.exposures_of(read_path(path)).sort(SORT_KEY) for path in (tmp_path / "27k", archive)]
    assert rows[0].equals(rows[1])


def test_another_variants_log_beside_the_parts_is_refused(tmp_path):
    write_variant(tmp_path, "27k", 2)
    log = tmp_path / "log_random_4_22_to_5_08_27k.csv"
    log.with_name("log_random_4_22_to_5_08_1k.csv").write_bytes(log.read_bytes())
    with pytest.raises(SourceError, match="logs of 1k and 27k in one folder"):
        read_path(tmp_path)
