"""KuaiRand's published folder and archive: what is read, what is refused, and that nothing is lost."""

import io
import tarfile
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.helpers import kuairand_files as files
from watchline.data.schema import EXPOSURES, SORT_KEY, USERS, VIDEOS
from watchline.data.sources.archives import PUBLISHED
from watchline.data.sources.base import SourceError, SourceTables
from watchline.data.sources.kuairand import KuaiRandConfig, read

EXCERPT = Path(__file__).parents[5] / "shared/data/kuairand-pure-10d"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return files.write_kuairand(tmp_path / "KuaiRand-Pure")


def read_path(path: Path, **settings: bool) -> SourceTables:
    return read(path, KuaiRandConfig(source="kuairand", path=str(path), **settings))


def edit(path: Path, change) -> None:
    """Replace the file's lines (header first) by `change(lines)`."""
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def set_cell(column: str, value: str, row: int):
    def change(lines: list[str]) -> list[str]:
        cells = lines[row].split(",")
        cells[lines[0].split(",").index(column)] = value
        return [*lines[:row], ",".join(cells), *lines[row + 1 :]]

    return change


def assert_same(read_tables: SourceTables, expected: SourceTables) -> None:
    rows, expected_rows = files.exposures_of(read_tables), files.exposures_of(expected)
    assert_frame_equal(rows.sort(SORT_KEY), expected_rows.sort(SORT_KEY), check_exact=True)
    assert_frame_equal(read_tables.users, expected.users, check_exact=True)
    assert_frame_equal(read_tables.videos, expected.videos, check_exact=True)


def test_files_give_back_every_row_code_and_unit_they_were_written_from(dataset):
    tables = read_path(dataset)
    assert_same(tables, files.generated())
    assert tables.utc_offset_hours == 8
    assert tables.unparsable.is_empty()


def test_dataset_folder_its_data_folder_and_its_archive_read_the_same(dataset, tmp_path):
    archive = files.pack(dataset, tmp_path / "copy.tar.gz")
    for path in (dataset, dataset / "data", archive, tmp_path):
        assert_same(read_path(path), files.generated())


def test_tables_have_the_canonical_columns_and_types(dataset):
    tables = read_path(dataset)
    assert dict(tables.users.schema) == USERS
    assert dict(tables.videos.schema) == VIDEOS
    exposures = tables.exposures_of(tables.days[0])
    assert {name: exposures.schema[name] for name in EXPOSURES} == EXPOSURES
    assert set(tables.columns_filled["exposures"]) == set(EXPOSURES)


def test_codes_for_not_known_are_null(dataset):
    text = (dataset / "data" / files.USERS_NAME).read_text()
    assert ",-124," in text
    assert read_path(dataset).users["is_live_streamer"].null_count() == text.count(",-124,")
    edit(dataset / "data" / files.VIDEOS_NAME, set_cell("video_type", "UNKNOWN", 1))
    assert read_path(dataset).videos["video_type"].null_count() == 1


def test_several_standard_logs_are_one_table(dataset):
    log = dataset / "data" / files.LOG_NAME
    lines = log.read_text().splitlines()
    (dataset / "data" / files.FIRST_LOG_NAME).write_text("\n".join(lines[:701]) + "\n")
    log.write_text("\n".join([lines[0], *lines[701:]]) + "\n")
    assert_same(read_path(dataset), files.generated())


def test_random_log_is_read_with_its_mark_unless_switched_off(tmp_path):
    dataset = files.write_kuairand(tmp_path / "x", exposures=20_000, random_log=True)
    expected = files.exposures_of(files.generated(exposures=20_000))
    with_random = files.exposures_of(read_path(dataset))
    assert with_random["is_random"].sum() == expected["is_random"].sum() > 0
    without = files.exposures_of(read_path(dataset, random_log=False))
    assert without["is_random"].sum() == 0
    assert len(without) == len(expected) - expected["is_random"].sum()


def test_conflicting_dates_are_kept_as_they_stand(dataset):
    edit(dataset / "data" / files.LOG_NAME, set_cell("date", "20220501", 3))
    tables = read_path(dataset)
    assert tables.days[-1] == date(2022, 5, 1)
    assert len(tables.exposures_of(date(2022, 5, 1))) == 1
    assert tables.unparsable.is_empty()


def test_negative_and_absurd_plays_are_kept_for_validation_to_judge(dataset):
    log = dataset / "data" / files.LOG_NAME
    edit(log, set_cell("play_time_ms", "-5000", 2))
    edit(log, set_cell("time_ms", "-1000", 3))
    edit(log, set_cell("play_time_ms", "99999999999", 4))
    exposures = files.exposures_of(read_path(dataset))
    assert exposures["watch_time_s"].min() == -5.0
    assert exposures["watch_time_s"].max() == 99999999.999
    assert exposures["exposed_at"].dt.year().min() == 1969


# ------------------------------------------------------------------ lines that cannot be read


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("play_time_ms", "12s", "column play_time_ms: 12s is not a number of milliseconds"),
        ("user_id", "u7", "column user_id: u7 is not a whole number"),
        ("user_id", "", "column user_id: empty"),
        ("video_id", "1.5", "column video_id: 1.5 is not a whole number"),
        ("date", "20221399", "column date: 20221399 is not a date YYYYMMDD"),
        ("time_ms", "99999999999999999", "column time_ms: 99999999999999999 is not a time in milliseconds"),
        ("is_click", "2", "column is_click: 2 is not 0 or 1"),
        ("duration_ms", "inf", "column duration_ms: inf is not a number of milliseconds"),
    ],
)
def test_text_in_a_number_goes_to_unparsable_with_the_column_named(dataset, column, value, reason):
    log = dataset / "data" / files.LOG_NAME
    edit(log, set_cell(column, value, 5))
    tables = read_path(dataset)
    [row] = tables.unparsable.to_dicts()
    assert row == {"file": files.LOG_NAME, "line": 6, "text": log.read_text().splitlines()[5], "reason": reason}
    assert len(files.exposures_of(tables)) == len(files.exposures_of(files.generated())) - 1


def test_lines_with_another_number_of_fields_go_to_unparsable(dataset):
    log = dataset / "data" / files.LOG_NAME
    edit(log, lambda lines: [*lines[:9], lines[9] + ",7", lines[10][: len(lines[10]) // 2], "", *lines[11:]])
    tables = read_path(dataset)
    assert tables.unparsable["line"].to_list() == [10, 11]
    assert tables.unparsable["reason"][0] == "20 fields instead of 19"
    assert len(files.exposures_of(tables)) == len(files.exposures_of(files.generated())) - 2


def test_broken_encoding_and_open_quotes_go_to_unparsable(dataset):
    users = dataset / "data" / files.USERS_NAME
    lines = users.read_bytes().split(b"\n")
    lines[3] = lines[3].replace(b",730+,", b",\xff\xfe,")
    lines[4] = lines[4].replace(b",730+,", b',"730+,')
    users.write_bytes(b"\n".join(lines))
    tables = read_path(dataset)
    assert tables.unparsable["reason"].to_list() == ["broken encoding (not UTF-8)", "a quote is not closed"]
    assert len(tables.users) == len(files.generated().users) - 2


def test_text_in_a_video_table_is_counted_there(dataset):
    edit(dataset / "data" / files.VIDEOS_NAME, set_cell("server_width", "wide", 2))
    tables = read_path(dataset)
    assert tables.unparsable.select("file", "line").rows() == [(files.VIDEOS_NAME, 3)]
    assert len(tables.videos) == len(files.generated().videos) - 1


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(dataset):
    for name in (files.LOG_NAME, files.USERS_NAME, files.VIDEOS_NAME):
        path = dataset / "data" / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    tables = read_path(dataset)
    assert tables.unparsable.is_empty()
    assert_same(tables, files.generated())


# ------------------------------------------------------------------ files that are refused


@pytest.mark.parametrize("name", [files.LOG_NAME, files.USERS_NAME, files.VIDEOS_NAME])
def test_a_missing_file_is_named(dataset, name):
    (dataset / "data" / name).unlink()
    stem = name.split("_4_22")[0]
    with pytest.raises(SourceError, match=rf"{stem}.*no such file"):
        read_path(dataset)


def test_a_folder_without_any_file_and_a_missing_path_are_named(tmp_path):
    with pytest.raises(SourceError, match=r"no log_standard_\*\.csv"):
        read_path(tmp_path)
    with pytest.raises(SourceError, match=r"nowhere: no such folder or archive; set ingest\.path"):
        read_path(tmp_path / "nowhere")


def test_a_missing_column_is_named_with_its_file(dataset):
    path = dataset / "data" / files.LOG_NAME
    pl.read_csv(path).drop("duration_ms", "tab").write_csv(path)
    with pytest.raises(SourceError, match=rf"{files.LOG_NAME}: .*column tab, duration_ms is missing \(2 of 19"):
        read_path(dataset)


def test_an_extra_column_is_ignored_and_named(dataset):
    path = dataset / "data" / files.LOG_NAME
    pl.read_csv(path).with_columns(mood=pl.lit("good")).write_csv(path)
    tables = read_path(dataset)
    assert_same(tables, files.generated())
    assert any("mood" in note for note in tables.notes)


def test_columns_in_another_order_change_nothing(dataset):
    path = dataset / "data" / files.LOG_NAME
    frame = pl.read_csv(path)
    frame.select(reversed(frame.columns)).write_csv(path)
    assert_same(read_path(dataset), files.generated())


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio", "a KuaiRec matrix"),
        ("queryId;sessionId;userId;timeframe;duration;eventdate", "the queries of CIKM Cup 2016"),
        ("session_id;user_id;item_id;timeframe;eventdate", "the item views of CIKM Cup 2016"),
        ("video_id,counts,show_cnt,play_cnt", "KuaiRand's video statistics"),
    ],
)
def test_the_header_of_another_dataset_is_recognised(dataset, header, name):
    (dataset / "data" / files.LOG_NAME).write_text(header + "\n1,2,3,4,5,6,7,8\n")
    with pytest.raises(SourceError, match=f"looks like {name}"):
        read_path(dataset)


@pytest.mark.parametrize("content", ["", ",".join(files.LOG_HEADER) + "\n"])
def test_an_empty_log_is_an_error(dataset, content):
    (dataset / "data" / files.LOG_NAME).write_text(content)
    with pytest.raises(SourceError, match=rf"{files.LOG_NAME}: (empty file|no rows)"):
        read_path(dataset)


def test_a_log_without_one_readable_row_is_an_error(dataset):
    (dataset / "data" / files.LOG_NAME).write_text(",".join(files.LOG_HEADER) + "\n1,2\n3\n")
    with pytest.raises(SourceError, match=r"none of 2 rows can be read .* 2 fields instead of 19"):
        read_path(dataset)


def test_logs_of_two_variants_are_refused(dataset):
    log = dataset / "data" / files.LOG_NAME
    log.with_name("log_standard_4_08_to_4_21_1k.csv").write_bytes(log.read_bytes())
    with pytest.raises(SourceError, match="logs of 1k and pure in one folder"):
        read_path(dataset)


# ------------------------------------------------------------------ archives


def test_a_published_name_with_another_checksum_is_refused(dataset, tmp_path):
    archive = files.pack(dataset, tmp_path / "KuaiRand-Pure.tar.gz")
    with pytest.raises(SourceError, match=rf"md5 is [0-9a-f]{{32}}.*{PUBLISHED[archive.name].md5}.*zenodo"):
        read_path(archive)


def test_another_name_is_read_and_said_to_be_unverified(dataset, tmp_path):
    archive = files.pack(dataset, tmp_path / "mine.tar.gz")
    assert any("checksum not verified" in note for note in read_path(archive).notes)


def test_a_published_checksum_that_fits_is_said_so(dataset, tmp_path, monkeypatch):
    import hashlib

    from watchline.data.sources import archives

    archive = files.pack(dataset, tmp_path / "KuaiRand-Pure.tar.gz")
    md5 = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setitem(PUBLISHED, archive.name, archives.Archive("https://example.org", md5, "kuairand"))
    assert any("md5 is the published one" in note for note in read_path(archive).notes)


def add_member(archive: tarfile.TarFile, name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, target, 0 if target else 3
    archive.addfile(member, io.BytesIO(b"abc"))


@pytest.mark.parametrize(
    ("name", "kind", "target"),
    [
        ("../outside.csv", tarfile.REGTYPE, ""),
        ("KuaiRand-Pure/../../outside.csv", tarfile.REGTYPE, ""),
        ("/tmp/outside.csv", tarfile.REGTYPE, ""),
        ("..\\outside.csv", tarfile.REGTYPE, ""),
        ("C:\\outside.csv", tarfile.REGTYPE, ""),
        ("KuaiRand-Pure/data", tarfile.SYMTYPE, "/etc"),
        ("KuaiRand-Pure/log_x_pure.csv", tarfile.LNKTYPE, "/etc/passwd"),
    ],
)
def test_a_member_that_leads_out_of_the_folder_is_refused_by_name(tmp_path, name, kind, target):
    path = tmp_path / "deep" / "evil.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        add_member(archive, name, kind, target)
    with pytest.raises(SourceError) as error:
        read_path(path)
    assert repr(name) in str(error.value)
    assert not list(tmp_path.rglob("outside.csv"))


def test_a_truncated_gzip_is_an_error_that_names_the_archive(dataset, tmp_path):
    archive = files.pack(dataset, tmp_path / "cut.tar.gz")
    archive.write_bytes(archive.read_bytes()[:-4000])
    with pytest.raises(SourceError, match=r"cut\.tar\.gz: the archive is cut short or damaged"):
        read_path(archive)


def test_a_file_that_is_no_archive_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "x.tar.gz"
    path.write_text("hello")
    with pytest.raises(SourceError, match=r"x\.tar\.gz: the archive is cut short or damaged"):
        read_path(path)


def test_errors_inside_an_archive_name_the_archive_not_a_temporary_folder(dataset, tmp_path):
    (dataset / "data" / files.USERS_NAME).unlink()
    archive = files.pack(dataset, tmp_path / "mine.tar.gz")
    with pytest.raises(SourceError) as error:
        read_path(archive)
    assert str(error.value).startswith(f"{archive}: KuaiRand-Pure/data/{files.USERS_NAME}: no such file")


# ------------------------------------------------------------------ the real excerpt


@pytest.mark.skipif(not EXCERPT.is_dir(), reason="the real excerpt is not beside the project (../shared/data)")
def test_the_real_excerpt_reads_whole_with_its_known_defects():
    tables = read_path(EXCERPT)
    exposures = files.exposures_of(tables)
    assert (len(exposures), len(tables.users), len(tables.videos)) == (171_671, 27_285, 7_583)
    assert (tables.days[0], tables.days[-1]) == (date(2022, 4, 25), date(2022, 5, 4))
    assert tables.unparsable.is_empty()
    assert len(exposures) - exposures.n_unique() == 4_390
    assert exposures.is_duplicated().sum() == 8_777
    assert (exposures["duration_s"] == 0).sum() == 2_646
    assert tables.users["is_live_streamer"].null_count() == 21_127
    assert tables.videos["duration_s"].null_count() == 239
