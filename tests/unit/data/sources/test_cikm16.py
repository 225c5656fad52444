"""CIKM Cup 2016's files as they are published: `;` between fields, `NA` for nobody, two spellings of the header."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tests.helpers.kuairand_files import LOG_HEADER, exposures_of
from tests.helpers.text_files import edit, set_cell
from watchline.config import ConfigError, parse
from watchline.data.sources.base import SourceError, SourceTables
from watchline.data.sources.cikm16 import CATEGORY, SEARCH, Cikm16Config, read

QUERIES = """queryId;sessionId;userId;timeframe;duration;eventdate;searchstring.tokens;categoryId;items;is.test
1;101;7;0;4999;2016-05-09;5001,5002,5003;0;11,12,13;FALSE
2;101;7;30000;800;2016-05-09;;42;14,15;FALSE
3;102;NA;1000;6000;2016-05-10;5001,5002,5003;0;16;TRUE
4;103;NA;0;250;2016-05-10;;42;;FALSE
"""
VIEWS = """sessionId;userId;itemId;timeframe;eventdate
201;NA;81766;526309;2016-05-09
201;NA;31331;1031018;2016-05-09
201;NA;32118;243569;2016-05-09
202;9;81766;5;2016-05-11
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train-queries.csv").write_text(QUERIES)
    (tmp_path / "train-item-views.csv").write_text(VIEWS)
    return tmp_path


def read_path(path: Path, **settings) -> SourceTables:
    return read(path, parse(Cikm16Config, {"source": "cikm16", "path": str(path)} | settings, "ingest"))


def test_a_query_is_an_exposure_of_its_result_page_with_the_dwell_as_watch_time(folder):
    tables = read_path(folder)
    rows = exposures_of(tables)
    assert rows["watch_time_s"].to_list() == [4.999, 0.8, 6.0, 0.25]
    assert rows["surface"].to_list() == [SEARCH, CATEGORY, SEARCH, CATEGORY]
    assert rows["exposed_at"][1] == datetime(2016, 5, 9, 0, 0, 30, tzinfo=UTC)
    first, second, third, fourth = rows["video_id"]
    assert first == third != second == fourth
    assert tables.days == (date(2016, 5, 9), date(2016, 5, 10))
    assert tables.unparsable.is_empty()


def test_a_user_who_is_not_logged_in_is_one_session(folder):
    tables = read_path(folder)
    assert exposures_of(tables)["user_id"].to_list() == [7, 7, -102, -103]
    assert tables.users["user_id"].to_list() == [-103, -102, 7]


def test_a_pages_tags_are_the_first_tokens_of_the_search_and_of_its_earliest_items(folder):
    videos = read_path(folder, tokens=2).videos
    assert dict(videos.select("video_type", "tags").rows()) == {"SEARCH": "5001,5002,11,12", "CATEGORY": "14,15"}


def test_the_same_page_has_the_same_code_whatever_else_is_in_the_log(folder):
    before = exposures_of(read_path(folder))["video_id"][0]
    edit(folder / "train-queries.csv", lambda lines: [lines[0], "0;99;NA;0;1;2016-05-01;4,5;0;1;FALSE", *lines[1:]])
    assert exposures_of(read_path(folder))["video_id"][1] == before


def test_the_published_bound_is_exclusive_and_what_it_leaves_out_is_counted(folder):
    tables = read_path(folder, keep={"play_below_s": 6})
    assert exposures_of(tables)["watch_time_s"].to_list() == [4.999, 0.8, 0.25]
    assert tables.notes == ("ingest.keep left out 1 of 4 exposures: play_below_s 1",)


def test_bounds_that_pages_do_not_have_are_refused():
    values = {"source": "cikm16", "path": "x", "keep": {"play_below_durations": 10}}
    with pytest.raises(ConfigError, match=r"ingest\.keep: .*pages have no duration"):
        parse(Cikm16Config, values, "ingest")


def test_the_dwell_of_a_view_is_the_time_to_the_sessions_next_one(folder):
    tables = read_path(folder, table="item_views")
    rows = exposures_of(tables)
    assert rows.select("video_id", "watch_time_s").rows() == [(32118, 282.74), (81766, 504.709)]
    assert tables.notes == ("2 last views of a session have no dwell and are left out",)
    assert tables.videos["video_id"].to_list() == [31331, 32118, 81766]


def test_both_spellings_of_the_header_read_the_same(folder):
    expected = exposures_of(read_path(folder, table="item_views"))
    header = '"session_id";"user_id";"item_id";"timeframe";"eventdate"'
    edit(folder / "train-item-views.csv", lambda lines: [header, *lines[1:]])
    assert exposures_of(read_path(folder, table="item_views")).equals(expected)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("duration", "NA", "column duration: NA is not a number of milliseconds"),
        ("eventdate", "09.05.2016", "column eventdate: 09.05.2016 is not a date YYYY-MM-DD"),
        ("sessionId", "", "column sessionId: empty"),
        ("userId", "bob", "column userId: bob is not a whole number"),
    ],
)
def test_what_is_not_of_its_column_goes_to_unparsable(folder, column, value, reason):
    edit(folder / "train-queries.csv", set_cell(column, value, 2, ";"))
    tables = read_path(folder)
    assert tables.unparsable.select("file", "line", "reason").rows() == [("train-queries.csv", 3, reason)]
    assert len(exposures_of(tables)) == 3


def test_a_line_with_commas_for_semicolons_goes_to_unparsable(folder):
    edit(folder / "train-queries.csv", lambda lines: [*lines, lines[1].replace(";", ",")])
    assert read_path(folder).unparsable["reason"].to_list() == ["1 fields instead of 10"]


@pytest.mark.parametrize("table", ["queries", "item_views"])
def test_missing_and_empty_files_are_named(folder, table):
    name = {"queries": "train-queries.csv", "item_views": "train-item-views.csv"}[table]
    (folder / name).write_text("")
    with pytest.raises(SourceError, match=rf"{name}: empty file"):
        read_path(folder, table=table)
    (folder / name).unlink()
    with pytest.raises(SourceError, match=rf"no {name} in it; set ingest\.path"):
        read_path(folder, table=table)


def test_a_file_of_another_table_or_source_is_recognised(folder):
    (folder / "train-queries.csv").write_text(VIEWS)
    with pytest.raises(SourceError, match="looks like the item views of CIKM Cup 2016"):
        read_path(folder)
    (folder / "train-queries.csv").write_text(",".join(LOG_HEADER) + "\n1\n")
    with pytest.raises(SourceError, match="looks like a KuaiRand log"):
        read_path(folder)


def test_a_missing_column_is_named(folder):
    edit(folder / "train-queries.csv", lambda lines: [line.replace("duration", "dwell") for line in lines])
    with pytest.raises(SourceError, match=r"train-queries\.csv: .*column duration is missing"):
        read_path(folder)


def test_a_log_of_last_views_alone_is_an_error(folder):
    edit(folder / "train-item-views.csv", lambda lines: [lines[0], lines[4]])
    with pytest.raises(SourceError, match="none of 1 rows has a dwell"):
        read_path(folder, table="item_views")
