"""The pass over the tables on disk: nothing lost, ids of a day its own, samples of whole users."""

import json
import shutil
from datetime import date

import polars as pl
import pytest

from tests.helpers.canonical import write_canonical
from watchline.data.rules import RowLimits
from watchline.data.screening import (
    Source,
    columns_on_disk,
    count_rows,
    days_of_window,
    quarantine_shares,
    screen_tables,
)
from watchline.data.splits import Window
from watchline.data.tables import TableError, day_path, days_on_disk, read_days, read_parquet, write_parquet

LIMITS = RowLimits(max_play_s=86_400, max_duration_s=86_400, day_slack_h=3)
WINDOW = Window(end=date(2024, 3, 4), eval_days=1, finetune_days=0, valid_days=1, train_days=2)


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    return write_canonical(tmp_path_factory.mktemp("ingest"), days=4, exposures=1500)


def screened(tables, out, row_budget=10**6):
    return screen_tables(tables, out, LIMITS, WINDOW, Source.read(tables / "source.json"), row_budget)


def test_every_row_is_clean_or_quarantined(generated, tmp_path):
    screening = screened(generated, tmp_path)
    for table in ("exposures", "users", "videos"):
        num_clean = count_rows(tmp_path, table)
        assert num_clean + len(screening.quarantined[table]) == count_rows(generated, table) > 0
        assert screening.num_rows[table] == count_rows(generated, table)


def test_ids_count_the_clean_rows_of_a_day_in_their_order(generated, tmp_path):
    screened(generated, tmp_path)
    for day in days_on_disk(tmp_path / "exposures"):
        rows = read_parquet(day_path(tmp_path / "exposures", day))
        first = int(day.strftime("%Y%m%d")) * 10**9
        assert rows["exposure_id"].to_list() == list(range(first, first + len(rows)))
        assert rows["exposed_at"].is_sorted()


def test_a_new_day_changes_no_byte_of_the_others(generated, tmp_path):
    shorter = shutil.copytree(generated, tmp_path / "shorter")
    shutil.rmtree(shorter / "exposures/date=2024-03-04")
    for tables, out in ((generated, tmp_path / "all"), (shorter, tmp_path / "some")):
        screened(tables, out)
    for day in days_on_disk(tmp_path / "some/exposures"):
        paths = [day_path(tmp_path / name / "exposures", day) for name in ("all", "some")]
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_sample_keeps_whole_users_and_the_budget(generated, tmp_path):
    everyone = screened(generated, tmp_path / "a").sample
    screening = screened(generated, tmp_path / "b", row_budget=500)
    rows_of = dict(everyone.group_by("user_id").len().iter_rows())
    assert screening.sampled_one_in == -(-count_rows(generated, "exposures") // 500) > 1
    assert 0 < len(screening.sample) < 1000
    assert all(rows_of[user] == count for user, count in screening.sample.group_by("user_id").len().iter_rows())


def test_days_of_the_window_show_a_day_without_rows(generated, tmp_path):
    tables = shutil.copytree(generated, tmp_path / "gap")
    shutil.rmtree(tables / "exposures/date=2024-03-02")
    days = days_of_window(screened(tables, tmp_path / "out").days, WINDOW)
    assert days["date"].to_list() == [day.isoformat() for day in WINDOW.days]
    assert days["present"].to_list() == [True, False, True, True]
    assert days["rows"][1] == 0 and days["volume_ratio"][1] is None
    assert days["days_behind"].to_list() == [0] * 4


def test_a_row_of_the_year_1970_is_quarantined_and_stretches_no_calendar(generated, tmp_path):
    tables = shutil.copytree(generated, tmp_path / "epoch")
    row = pl.read_parquet(day_path(tables / "exposures", date(2024, 3, 1)), hive_partitioning=False).head(1)
    epoch = row.with_columns(date=pl.lit(date(1970, 1, 1)), exposed_at=pl.lit(0).cast(row["exposed_at"].dtype))
    write_parquet(epoch, day_path(tables / "exposures", date(1970, 1, 1)))
    screening = screened(tables, tmp_path / "out")
    assert screening.counts["exposures"]["past_time"] == 1
    assert len(screening.days) == len(WINDOW.days)
    assert not day_path(tmp_path / "out/exposures", date(1970, 1, 1)).exists()


def test_days_behind_counts_from_the_newest_row_to_the_end_of_the_window(generated, tmp_path):
    later = WINDOW.model_copy(update={"end": date(2024, 3, 7)})
    assert days_of_window(screened(generated, tmp_path).days, later)["days_behind"][0] == 3


def test_shares_are_of_the_rows_of_their_table(generated, tmp_path):
    screening = screened(generated, tmp_path)
    shares = quarantine_shares(screening)
    rows = count_rows(generated, "exposures")
    assert shares["exposures.duplicate"] == screening.counts["exposures"]["duplicate"] / rows > 0
    assert shares["exposures.all"] == len(screening.quarantined["exposures"]) / rows
    assert shares["unparsable.unparsable"] == 0


def test_columns_on_disk_tell_a_missing_a_strange_and_a_retyped_column(generated, tmp_path):
    tables = shutil.copytree(generated, tmp_path / "other")
    users = read_parquet(tables / "users.parquet")
    users.drop("fans_count").with_columns(pl.col("follow_count").cast(pl.String), shoe_size=1).write_parquet(
        tables / "users.parquet"
    )
    wrong = columns_on_disk(tables).filter(~pl.col("matches"))
    assert {tuple(row) for row in wrong.select("column", "expected", "observed").rows()} == {
        ("fans_count", "Int64", "absent"),
        ("follow_count", "Int64", "String"),
        ("shoe_size", "absent", "Int32"),
    }
    assert set(wrong["file"]) == {"users.parquet"}


def test_a_folder_without_a_day_is_an_error_that_says_so(generated, tmp_path):
    tables = shutil.copytree(generated, tmp_path / "none")
    shutil.rmtree(tables / "exposures")
    with pytest.raises(TableError, match="no day of exposures"):
        columns_on_disk(tables)


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"source": "x", "utc_offset_hours": 8})])
def test_a_damaged_source_file_is_an_error_that_names_it(tmp_path, text):
    (tmp_path / "source.json").write_text(text)
    with pytest.raises(TableError, match=r"source\.json"):
        Source.read(tmp_path / "source.json")


def test_rows_after_the_window_go_to_quarantine(generated, tmp_path):
    earlier = WINDOW.model_copy(update={"end": date(2024, 3, 3)})
    source = Source.read(generated / "source.json")
    screening = screen_tables(generated, tmp_path, LIMITS, earlier, source, 10**6)
    last = read_days(generated / "exposures", [date(2024, 3, 4)])
    assert screening.counts["exposures"]["future_time"] >= len(last)
    assert date(2024, 3, 4) not in days_on_disk(tmp_path / "exposures")
