"""KuaiRec's published folder and zip: what is read, what is refused, and that nothing is lost."""

import stat
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.helpers import kuairec_files as files
from tests.helpers.kuairand_files import LOG_HEADER, exposures_of
from tests.helpers.text_files import edit, set_cell
from watchline.config import ConfigError, parse
from watchline.data.sources.archives import PUBLISHED
from watchline.data.sources.base import SourceError, SourceTables
from watchline.data.sources.kuairec import KuaiRecConfig, read

ROWS = ["user_id", "video_id", "exposed_at", "date", "watch_time_s", "duration_s"]
VIDEO_COLUMNS = [
    "author_id",
    "video_type",
    "uploaded_on",
    "upload_type",
    "is_visible",
    "duration_s",
    "width",
    "height",
    "music_id",
    "tags",
]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return files.write_kuairec(tmp_path / "KuaiRec 2.0")


def read_path(path: Path, **settings) -> SourceTables:
    values = {"source": "kuairec", "path": str(path)} | settings
    return read(path, parse(KuaiRecConfig, values, "ingest"))


def written(part: int) -> pl.DataFrame:
    """The generated rows of the big (0) or small (1) matrix, in the order of the file."""
    return exposures_of(files.generated()).gather_every(2, part)


def sorted_rows(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(ROWS).sort(ROWS)


def test_the_big_matrix_gives_back_every_row_and_unit_it_was_written_from(dataset):
    tables = read_path(dataset)
    assert_frame_equal(sorted_rows(exposures_of(tables)), sorted_rows(written(0)), check_exact=True)
    assert not exposures_of(tables)["is_random"].any()
    assert tables.utc_offset_hours == 8
    assert tables.unparsable.is_empty()


def test_users_and_videos_come_back_as_they_were_written(dataset):
    tables, expected = read_path(dataset), files.generated()
    assert_frame_equal(tables.users, expected.users, check_exact=True)
    videos = tables.videos.sort("video_id")
    assert_frame_equal(
        videos.select("video_id", *VIDEO_COLUMNS), expected.videos.sort("video_id").select("video_id", *VIDEO_COLUMNS)
    )
    assert "music_type" not in tables.columns_filled["videos"]


def test_of_an_items_days_the_earliest_counts_and_no_count_of_plays_is_read(dataset):
    items = dataset / "data/item_daily_features.csv"
    frame = pl.read_csv(items, infer_schema=False)
    later = pl.col("date") != "20200705"
    frame.with_columns(
        pl.when(later).then(pl.lit("1")).otherwise(pl.col("author_id")).alias("author_id"),
        pl.when(later).then(pl.lit("9000.0")).otherwise(pl.col("video_duration")).alias("video_duration"),
    ).write_csv(items)
    tables, expected = read_path(dataset), files.generated().videos.sort("video_id")
    videos = tables.videos.sort("video_id")
    assert videos["author_id"].equals(expected["author_id"])
    assert videos["duration_s"].equals(expected["duration_s"])
    assert not [name for name in videos.columns if name.endswith("_cnt")]


def test_rows_without_a_time_are_unparsable_unless_a_day_is_given_for_them(dataset):
    lines = (dataset / "data/small_matrix.csv").read_text().splitlines()
    undated = sum(line.split(",")[6] == "" for line in lines[1:])
    assert undated > 0
    tables = read_path(dataset, matrix="small")
    assert set(tables.unparsable["reason"]) == {"column timestamp: empty"}
    assert len(tables.unparsable) == undated
    assert len(exposures_of(tables)) == len(lines) - 1 - undated

    placed = read_path(dataset, matrix="small", undated_day="2020-09-05")
    assert placed.unparsable.is_empty()
    last = placed.exposures_of(date(2020, 9, 5))
    assert len(last) == undated
    assert set(last["exposed_at"]) == {datetime(2020, 9, 5, 15, 59, 59, tzinfo=UTC)}
    assert len(exposures_of(placed)) == len(lines) - 1
    assert any(f"{undated:,} exposures without a time stand at the end of 2020-09-05" in n for n in placed.notes)


def test_dates_written_as_floats_are_dates(dataset):
    assert ".0," in (dataset / "data/small_matrix.csv").read_text().splitlines()[2]
    expected = written(1).filter(pl.int_range(pl.len()) % 25 != 0)
    assert_frame_equal(sorted_rows(exposures_of(read_path(dataset, matrix="small"))), sorted_rows(expected))


def test_a_missing_date_is_the_timestamps_day_in_china(dataset):
    matrix = dataset / "data/big_matrix.csv"
    edit(matrix, set_cell("timestamp", "1593878400.5", 1))  # 2020-07-05 00:00:00.5 in China, still the 4th in UTC
    edit(matrix, set_cell("date", "", 1))
    rows = exposures_of(read_path(dataset)).filter(pl.col("exposed_at").dt.epoch("ms") == 1_593_878_400_500)
    assert rows["date"].to_list() == [date(2020, 7, 5)]


def test_a_timestamp_before_the_first_date_is_kept_for_validation_to_judge(dataset):
    edit(dataset / "data/big_matrix.csv", set_cell("timestamp", "1593792000.0", 1))
    tables = read_path(dataset)
    early = exposures_of(tables).filter(pl.col("exposed_at") < datetime(2020, 7, 4, tzinfo=UTC))
    assert len(early) == 1
    assert tables.days[0] == files.FIRST_DAY
    assert tables.unparsable.is_empty()


def test_rows_of_the_small_matrix_are_marked_random_beside_those_of_the_big(dataset):
    rows = exposures_of(read_path(dataset, matrix="both", undated_day="2020-09-05"))
    assert rows["is_random"].sum() == len(written(1))
    assert len(rows) == len(written(0)) + len(written(1))


def test_topics_are_read_as_a_list_and_never_evaluated(dataset):
    categories = dataset / "data/item_categories.csv"
    lines = categories.read_text().splitlines()
    first = lines[1].split(",")[0]
    evil = f"{first},\"[__import__('os').getpid()]\""
    categories.write_text("\n".join([lines[0], evil, *lines[2:]]) + "\n")
    tables = read_path(dataset)
    [row] = tables.unparsable.to_dicts()
    assert (row["file"], row["line"]) == ("item_categories.csv", 2)
    assert "is not a list of whole numbers in brackets" in row["reason"]


def test_the_caption_file_with_its_broken_encoding_is_not_read(dataset):
    before = exposures_of(read_path(dataset))
    (dataset / "data/kuairec_caption_category.csv").unlink()
    assert exposures_of(read_path(dataset)).equals(before)


@pytest.mark.parametrize("folder", ["KuaiRec 2.0", "KuaiRec"])
def test_folder_data_folder_and_zip_read_the_same(dataset, tmp_path, folder):
    archive = files.pack(dataset, tmp_path / "copy.zip", folder)
    expected = exposures_of(read_path(dataset))
    for path in (dataset / "data", archive):
        assert exposures_of(read_path(path)).equals(expected)
    assert any("checksum not verified" in note for note in read_path(archive).notes)


# ------------------------------------------------------------------ a protocol's filter


def test_kept_rows_are_those_within_every_bound_and_the_others_are_counted(dataset):
    path = dataset / "data/item_daily_features.csv"
    items = pl.read_csv(path, infer_schema=False)
    is_ad = pl.col("video_id").cast(pl.Int64) % 10 == 0
    items.with_columns(video_type=pl.when(is_ad).then(pl.lit("AD")).otherwise("video_type")).write_csv(path)
    keep = {"without_types": ["AD"], "play_above_s": 0, "duration_above_s": 0, "play_below_durations": 10}
    tables = read_path(dataset, keep=keep)
    rows = exposures_of(tables)
    ads = set(tables.videos.filter(pl.col("video_type") == "AD")["video_id"])
    expected = written(0).filter(
        ~pl.col("video_id").is_in(list(ads)),
        pl.col("watch_time_s") > 0,
        pl.col("duration_s") > 0,
        pl.col("watch_time_s") < 10 * pl.col("duration_s"),
    )
    assert 0 < len(expected) < len(written(0))
    assert ads
    assert_frame_equal(sorted_rows(rows), sorted_rows(expected))
    left_out = len(written(0)) - len(expected)
    assert any(f"left out {left_out:,} of {len(written(0)):,} exposures" in note for note in tables.notes)


def test_clipping_changes_long_plays_and_no_others(dataset):
    clipped = exposures_of(read_path(dataset, keep={"clip_play_s": 60}))
    expected = written(0).with_columns(pl.col("watch_time_s").clip(upper_bound=60))
    assert (written(0)["watch_time_s"] > 60).any()
    assert_frame_equal(sorted_rows(clipped), sorted_rows(expected))


def test_bounds_that_leave_nothing_are_an_error(dataset):
    with pytest.raises(SourceError, match=r"ingest\.keep leaves none of"):
        read_path(dataset, keep={"play_above_s": 1e9})


def test_an_unknown_matrix_names_the_ones_there_are():
    with pytest.raises(ConfigError, match=r"ingest\.matrix: .*'big', 'small' or 'both', got 'huge'"):
        parse(KuaiRecConfig, {"source": "kuairec", "path": "x", "matrix": "huge"}, "ingest")


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("play_duration", "12s", "column play_duration: 12s is not a number of milliseconds"),
        ("user_id", "", "column user_id: empty"),
        ("timestamp", "soon", "column timestamp: soon is not a time in seconds"),
        ("timestamp", "1e30", "column timestamp: 1e30 is not a time in seconds"),
        ("date", "20201399.0", "column date: 20201399.0 is not a date YYYYMMDD"),
    ],
)
def test_text_in_a_number_goes_to_unparsable_with_the_column_named(dataset, column, value, reason):
    matrix = dataset / "data/big_matrix.csv"
    edit(matrix, set_cell(column, value, 5))
    tables = read_path(dataset)
    [row] = tables.unparsable.to_dicts()
    text = matrix.read_text().splitlines()[5]
    assert row == {"file": "big_matrix.csv", "line": 6, "text": text, "reason": reason}
    assert len(exposures_of(tables)) == len(written(0)) - 1


def test_lines_with_another_number_of_fields_go_to_unparsable(dataset):
    edit(dataset / "data/big_matrix.csv", lambda lines: [*lines[:9], lines[9] + ",7", lines[10][:9], *lines[11:]])
    tables = read_path(dataset)
    assert tables.unparsable["line"].to_list() == [10, 11]
    assert len(exposures_of(tables)) == len(written(0)) - 2


@pytest.mark.parametrize(
    "name", ["big_matrix.csv", "user_features.csv", "item_categories.csv", "item_daily_features.csv"]
)
@pytest.mark.parametrize("state", ["missing", "empty", "header only"])
def test_a_missing_or_empty_file_is_named(dataset, name, state):
    path = dataset / "data" / name
    header = path.read_text().splitlines()[0]
    path.unlink()
    if state != "missing":
        path.write_text("" if state == "empty" else header + "\n")
    with pytest.raises(SourceError, match=rf"{name}: (no such file|empty file|no rows)"):
        read_path(dataset)


def test_a_folder_without_a_matrix_and_a_missing_path_are_named(tmp_path):
    with pytest.raises(SourceError, match=r"no big_matrix\.csv or small_matrix\.csv"):
        read_path(tmp_path)
    with pytest.raises(SourceError, match=r"nowhere: no such folder or archive; set ingest\.path to KuaiRec"):
        read_path(tmp_path / "nowhere")


def test_a_missing_column_is_named_with_its_file(dataset):
    path = dataset / "data/big_matrix.csv"
    pl.read_csv(path).drop("timestamp").write_csv(path)
    with pytest.raises(SourceError, match=r"big_matrix\.csv: .*column timestamp is missing"):
        read_path(dataset)


def test_a_file_of_another_source_in_its_place_is_recognised(dataset):
    (dataset / "data/big_matrix.csv").write_text(",".join(LOG_HEADER) + "\n" + ",".join("1" * len(LOG_HEADER)) + "\n")
    with pytest.raises(SourceError, match=r"big_matrix\.csv: .*looks like a KuaiRand log"):
        read_path(dataset)


def test_a_user_missing_from_the_table_leaves_its_exposures_for_validation(dataset):
    users = dataset / "data/user_features.csv"
    lines = users.read_text().splitlines()
    users.write_text("\n".join([lines[0], *lines[1::10], *lines[2::10]]) + "\n")
    tables = read_path(dataset)
    assert len(tables.users) < len(files.generated().users)
    assert len(exposures_of(tables)) == len(written(0))


def test_a_repeated_topic_row_of_a_video_stays_for_validation_to_judge(dataset):
    path = dataset / "data/item_categories.csv"
    edit(path, lambda lines: [*lines, lines[1].split(",")[0] + ",[99]"])
    videos = read_path(dataset).videos
    assert len(videos) == len(files.generated().videos) + 1


# ------------------------------------------------------------------ archives


def test_a_published_name_with_another_checksum_is_refused(dataset, tmp_path):
    archive = files.pack(dataset, tmp_path / "KuaiRec.zip")
    with pytest.raises(SourceError, match=rf"md5 is [0-9a-f]{{32}}.*{PUBLISHED['KuaiRec.zip'].md5}.*zenodo"):
        read_path(archive)


@pytest.mark.parametrize("name", ["../outside.csv", "KuaiRec/../../outside.csv", "/tmp/outside.csv", "C:\\outside.csv"])
def test_a_zip_member_that_leads_out_of_the_folder_is_refused_by_name(tmp_path, name):
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "abc")
    with pytest.raises(SourceError, match="leads out of the folder"):
        read_path(path)
    assert not list(tmp_path.rglob("outside.csv"))


def test_a_link_in_a_zip_is_refused_by_name(tmp_path):
    path = tmp_path / "evil.zip"
    link = zipfile.ZipInfo("KuaiRec/big_matrix.csv")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(SourceError, match=r"'KuaiRec/big_matrix\.csv' is a link or a device"):
        read_path(path)


@pytest.mark.parametrize("kept", [0.99, 0.5, 0.01])
def test_a_truncated_zip_is_an_error_that_names_it(dataset, tmp_path, kept):
    archive = files.pack(dataset, tmp_path / "cut.zip")
    content = archive.read_bytes()
    archive.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(SourceError, match=r"cut\.zip: the archive is cut short or damaged"):
        read_path(archive)


def test_a_zip_with_a_flipped_byte_is_an_error(dataset, tmp_path):
    archive = files.pack(dataset, tmp_path / "bad.zip")
    content = bytearray(archive.read_bytes())
    content[len(content) // 4] ^= 0xFF
    archive.write_bytes(bytes(content))
    with pytest.raises(SourceError, match=r"bad\.zip: the archive is cut short or damaged"):
        read_path(archive)
