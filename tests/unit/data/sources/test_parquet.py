"""A log in Parquet through a column mapping: units, ids, days, and schemas that do not fit."""

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from tests.helpers.kuairand_files import exposures_of
from watchline.config import ConfigError, parse
from watchline.data.schema import EXPOSURES
from watchline.data.sources import parquet
from watchline.data.sources.base import SourceError, SourceTables, conform
from watchline.data.sources.codes import stable_codes
from watchline.data.sources.parquet import ParquetConfig, read

COLUMNS = {"user_id": "uid", "video_id": "vid", "exposed_at": "ts", "watch_time_s": "played", "surface": "tab"}
LOG = pl.DataFrame(
    {
        "uid": ["ann", "bob", "ann"],
        "vid": [5, 6, 5],
        "ts": [1_709_251_199_000, 1_709_251_200_000, 1_709_337_600_000],  # 2024-02-29 23:59:59 UTC and on
        "played": [10_700, 0, 2500],
        "tab": [1, 0, None],
        "other": ["x", "y", "z"],
    }
)


def settings(**values) -> dict:
    return {
        "source": "parquet",
        "path": "x",
        "utc_offset_hours": 0,
        "time_unit": "ms",
        "duration_unit": "ms",
        "exposures": {"file": "log.parquet", "columns": COLUMNS},
    } | values


def read_path(path: Path, **values) -> SourceTables:
    return read(path, parse(ParquetConfig, settings(**values), "ingest"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    LOG.write_parquet(tmp_path / "log.parquet")
    return tmp_path


def test_mapped_columns_become_canonical_in_their_units(folder):
    tables = read_path(folder)
    rows = exposures_of(tables)
    assert rows["watch_time_s"].to_list() == [10.7, 0.0, 2.5]
    assert rows["exposed_at"][1] == datetime(2024, 3, 1, tzinfo=UTC)
    assert tables.days == (date(2024, 2, 29), date(2024, 3, 1), date(2024, 3, 2))
    assert dict(conform(rows, EXPOSURES).schema) == EXPOSURES
    assert set(tables.columns_filled["exposures"]) == {*COLUMNS, "date"}


def test_the_local_day_is_that_of_the_offset(folder):
    assert read_path(folder, utc_offset_hours=8).days == (date(2024, 3, 1), date(2024, 3, 2))


@pytest.mark.parametrize("kind", [pl.Datetime("ms"), pl.Datetime("us", "UTC"), pl.Datetime("ns", "Asia/Shanghai")])
def test_timestamps_need_no_unit(folder, kind):
    stamps = LOG["ts"].cast(pl.Datetime("ms", "UTC"))
    column = (
        stamps.dt.replace_time_zone(None) if kind.time_zone is None else stamps.dt.convert_time_zone(kind.time_zone)
    )
    LOG.with_columns(column.cast(kind).alias("ts")).write_parquet(folder / "log.parquet")
    assert exposures_of(read_path(folder))["exposed_at"][1] == datetime(2024, 3, 1, tzinfo=UTC)


def test_text_ids_have_the_same_code_in_every_table_and_file(folder):
    pl.DataFrame({"uid": ["zoe", "ann"], "age": [3, 4]}).write_parquet(folder / "users.parquet")
    users = {"file": "users.parquet", "columns": {"user_id": "uid", "register_days": "age"}}
    tables = read_path(folder, users=users)
    code = stable_codes(pl.Series(["ann"])).item()
    assert exposures_of(tables)["user_id"].to_list().count(code) == 2
    assert tables.users.rows()[1] == (code, 4)
    assert code == stable_codes(pl.Series(["x", "ann", None]))[1]


def test_codes_do_not_change_between_versions():
    assert stable_codes(pl.Series(["a", "b"])).to_list() == [2340832890917691671, 4771952420932724666]


def test_without_tables_of_their_own_users_and_videos_are_the_ids_seen(folder):
    tables = read_path(folder)
    assert sorted(tables.users["user_id"]) == sorted(set(stable_codes(LOG["uid"])))
    assert tables.videos["video_id"].to_list() == [5, 6]


def test_a_folder_of_files_is_one_table(folder):
    (folder / "log").mkdir()
    LOG[:2].write_parquet(folder / "log/a.parquet")
    LOG[2:].write_parquet(folder / "log/b.parquet")
    split = read_path(folder, exposures={"file": "log", "columns": COLUMNS})
    assert exposures_of(split).equals(exposures_of(read_path(folder)))


def test_rows_without_what_is_required_are_unparsable_with_their_line(folder):
    LOG.with_columns(ts=pl.Series([None, 2**62, 1_709_251_200_000])).write_parquet(folder / "log.parquet")
    tables = read_path(folder)
    assert tables.unparsable.select("file", "line", "reason").rows() == [
        ("log.parquet", 1, "column exposed_at: empty"),
        ("log.parquet", 2, "column exposed_at: empty"),
    ]
    assert '"user_id": "ann"' in tables.unparsable["text"][0]
    assert len(exposures_of(tables)) == 1


@pytest.mark.parametrize(
    ("target", "values", "what", "read_as"),
    [
        ("surface", pl.Series([1.0, 1.5, None]), "1.5 is not a whole number", [1, None]),
        ("surface", pl.Series([1.0, float("nan"), 2.0]), "NaN is not a whole number", [1, 2]),
        ("surface", pl.Series([1.0, 1e17, 2.0]), "1e+17 is not a whole number", [1, 2]),
        (
            "surface",
            pl.Series([1, 2**63, 2], dtype=pl.UInt64),
            "9223372036854775808 is not a whole number below 2^63 (as an id it can be cast to text)",
            [1, 2],
        ),
        ("surface", pl.Series(["1", "2.5", "3"]).cast(pl.Decimal(4, 1)), "2.5 is not a whole number", [1, 3]),
        ("is_click", pl.Series([1, 2, 0]), "2 is not 0 or 1", [True, False]),
        ("is_click", pl.Series([None, -1, 0], dtype=pl.Int8), "-1 is not 0 or 1", [None, False]),
    ],
)
def test_a_value_that_its_column_cannot_hold_makes_its_row_unparsable(folder, target, values, what, read_as):
    LOG.with_columns(values.alias("odd")).write_parquet(folder / "log.parquet")
    tables = read_path(folder, exposures={"file": "log.parquet", "columns": COLUMNS | {target: "odd"}})
    assert tables.unparsable.select("file", "line", "reason").rows() == [("log.parquet", 2, f"column odd: {what}")]
    assert '"user_id": "bob"' in tables.unparsable["text"][0] and what.split()[0] in tables.unparsable["text"][0]
    assert exposures_of(tables)[target].to_list() == read_as
    assert tables.videos["video_id"].to_list() == [5]


def test_a_user_with_a_value_that_does_not_fit_is_unparsable_too(folder):
    users = pl.DataFrame({"uid": ["ann", "bob"], "days": [3.5, 4.0], "low": [0, 7]})
    users.write_parquet(folder / "users.parquet")
    columns = {"user_id": "uid", "register_days": "days", "is_lowactive": "low"}
    tables = read_path(folder, users={"file": "users.parquet", "columns": columns})
    assert tables.users.is_empty()
    assert tables.unparsable.select("file", "line", "reason").rows() == [
        ("users.parquet", 1, "column days: 3.5 is not a whole number"),
        ("users.parquet", 2, "column low: 7 is not 0 or 1"),
    ]


def test_too_many_rows_that_do_not_fit_are_another_column_than_was_meant(folder, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_UNPARSABLE", 1)
    LOG.with_columns(odd=pl.Series([2, 0, 3])).write_parquet(folder / "log.parquet")
    mapping = {"file": "log.parquet", "columns": COLUMNS | {"is_click": "odd"}}
    with pytest.raises(SourceError, match=r"log.parquet: more than 1 rows .* row 3 \(column odd: 3 is not 0 or 1\)"):
        read_path(folder, exposures=mapping)


def test_a_log_of_which_no_row_fits_is_an_error_with_the_first_reason(folder):
    LOG.with_columns(tab=pl.lit(0.5)).write_parquet(folder / "log.parquet")
    with pytest.raises(SourceError, match=r"no row .*column tab: 0\.5 is not a whole number\); check ingest"):
        read_path(folder)


def test_a_repeated_video_with_another_duration_stays_for_validation_to_judge(folder):
    pl.DataFrame({"vid": [5, 5, 6], "ms": [1000, 2000, 3000]}).write_parquet(folder / "videos.parquet")
    mapping = {"file": "videos.parquet", "columns": {"video_id": "vid", "duration_s": "ms"}}
    assert read_path(folder, videos=mapping).videos.rows() == [(5, 1.0), (5, 2.0), (6, 3.0)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"played": pl.Series(["1", "2", "3"])}, r"column played is String, which cannot be watch_time_s"),
        ({"ts": pl.Series([1.5, 2.5, 3.5])}, r"column ts is Float64, which cannot be exposed_at"),
        ({"uid": pl.Series([[1], [2], [3]])}, r"column uid is List\(Int64\), which cannot be user_id"),
        ({"tab": pl.Series(["home", "home", "feed"])}, r"column tab is String, which cannot be surface"),
    ],
)
def test_a_column_of_another_type_is_named_with_what_it_is(folder, change, message):
    LOG.with_columns(**change).write_parquet(folder / "log.parquet")
    with pytest.raises(SourceError, match=rf"log\.parquet: {message}"):
        read_path(folder)


def test_another_schema_is_an_error_with_the_columns_there_are(folder):
    LOG.rename({"uid": "who"}).write_parquet(folder / "log.parquet")
    with pytest.raises(SourceError, match=r"log\.parquet: column uid is missing \(it has who, vid, ts"):
        read_path(folder)


def test_files_whose_ids_differ_in_type_are_refused(folder):
    (folder / "log").mkdir()
    LOG.write_parquet(folder / "log/a.parquet")
    LOG.with_columns(uid=pl.int_range(pl.len())).write_parquet(folder / "log/b.parquet")
    with pytest.raises(SourceError, match=r"b\.parquet: its ids are of another type"):
        read_path(folder, exposures={"file": "log", "columns": COLUMNS})


def test_truncated_empty_missing_and_foreign_files_are_named(folder):
    path = folder / "log.parquet"
    content = path.read_bytes()
    for broken in (content[: len(content) // 2], b"", b"user_id,video_id\n1,2\n"):
        path.write_bytes(broken)
        with pytest.raises(SourceError, match=r"log\.parquet: not a readable Parquet file"):
            read_path(folder)
    path.unlink()
    with pytest.raises(SourceError, match=r"no Parquet file there; set ingest\.path"):
        read_path(folder)


def test_a_log_without_one_whole_row_is_an_error(folder):
    LOG.clear().write_parquet(folder / "log.parquet")
    with pytest.raises(SourceError, match="no row of the exposures has user, video, time and watch time"):
        read_path(folder)


def test_a_mapping_that_lacks_a_required_column_or_names_an_unknown_one_is_refused(folder):
    with pytest.raises(ConfigError, match=r"ingest\.exposures: .*columns must map watch_time_s"):
        columns = {name: column for name, column in COLUMNS.items() if name != "watch_time_s"}
        read_path(folder, exposures={"file": "log.parquet", "columns": columns})
    with pytest.raises(SourceError, match=r"ingest\.exposures\.columns: mood is no column of exposures"):
        read_path(folder, exposures={"file": "log.parquet", "columns": COLUMNS | {"mood": "other"}})
