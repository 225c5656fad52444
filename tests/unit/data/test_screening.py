"""The pass over the tables on disk: nothing lost, ids of a day its own, samples of whole users."""

import json
import shutil
from datetime import date

import polars as pl
import pytest

from tests.helpers.canonical import write_canonical
from watchline.data.day_cache import DayCache
from watchline.data.references import days_of_window
from watchline.data.rules import RowLimits
from watchline.data.screening import (
    Source,
    columns_on_disk,
    count_rows,
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


def screened(tables, out, row_budget=10**6, window=WINDOW, cache=None):
    source = Source.read(tables / "source.json")
    return screen_tables(tables, out, LIMITS, window, source, row_budget, cache=cache)


def in_quarantine(screening, table):
    return sum(len(rows) for rows in screening.quarantined_rows(table))


def test_every_row_is_clean_or_quarantined(generated, tmp_path):
    screening = screened(generated, tmp_path)
    for table in ("exposures", "users", "videos"):
        num_clean = count_rows(tmp_path, table)
        assert num_clean + in_quarantine(screening, table) == count_rows(generated, table) > 0
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


def test_a_sample_of_a_day_keeps_whole_users_and_the_budget(generated, tmp_path):
    everyone = screened(generated, tmp_path / "a")
    sampled = screened(generated, tmp_path / "b", row_budget=100)
    for whole, part in zip(everyone.screened_days, sampled.screened_days, strict=True):
        rows_of = dict(whole.sample().group_by("user_id").len().iter_rows())
        assert part.sampled_one_in == -(-whole.facts["rows"] // 100) > 1 == whole.sampled_one_in
        assert 0 < len(part.sample()) < 200
        assert all(rows_of[user] == count for user, count in part.sample().group_by("user_id").len().iter_rows())


def test_days_of_the_window_show_a_day_without_rows(generated, tmp_path):
    tables = shutil.copytree(generated, tmp_path / "gap")
    shutil.rmtree(tables / "exposures/date=2024-03-02")
    days = days_of_window(screened(tables, tmp_path / "out"), WINDOW, 7)
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
    assert days_of_window(screened(generated, tmp_path), later, 7)["days_behind"][0] == 3


def test_shares_are_of_the_rows_of_their_table(generated, tmp_path):
    screening = screened(generated, tmp_path)
    shares = quarantine_shares(screening)
    rows = count_rows(generated, "exposures")
    assert shares["exposures.duplicate"] == screening.counts["exposures"]["duplicate"] / rows > 0
    assert shares["exposures.all"] == in_quarantine(screening, "exposures") / rows
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


def test_an_unchanged_day_is_screened_once_whatever_else_changes(generated, tmp_path):
    """New users, a later window and a new day leave the old days alone; the outcome is that of a run without cache."""
    tables = shutil.copytree(generated, tmp_path / "tables")
    last = day_path(tables / "exposures", date(2024, 3, 4))
    kept = last.rename(tmp_path / "kept.parquet")
    last.parent.rmdir()
    users = read_parquet(tables / "users.parquet")
    used = pl.concat([read_parquet(path)["user_id"] for path in [*tables.glob("exposures/*/*"), kept]]).unique()
    unused = users.filter(~pl.col("user_id").is_in(used.implode())).head(1)["user_id"]
    write_parquet(users.filter(~pl.col("user_id").is_in(unused.implode())), tables / "users.parquet")
    earlier = WINDOW.model_copy(update={"end": date(2024, 3, 3), "train_days": 1})
    screened(tables, tmp_path / "first", window=earlier, cache=DayCache(tmp_path / "cache", "code"))

    write_parquet(users, tables / "users.parquet")
    last.parent.mkdir()
    kept.rename(last)
    warm = DayCache(tmp_path / "cache", "code")
    screened(tables, tmp_path / "warm", cache=warm)
    screened(tables, tmp_path / "cold")
    assert (warm.num_made, warm.num_fetched) == (1, 3)
    for path in (tmp_path / "cold").rglob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "warm" / path.relative_to(tmp_path / "cold")).read_bytes()


@pytest.mark.parametrize("table", ["users", "videos"])
def test_a_day_whose_ids_became_unknown_is_screened_anew(generated, tmp_path, table):
    tables = shutil.copytree(generated, tmp_path / "tables")
    cache = DayCache(tmp_path / "cache", "code")
    screened(tables, tmp_path / "first", cache=cache)
    key = f"{table[:-1]}_id"
    gone = read_parquet(day_path(tables / "exposures", date(2024, 3, 1)))[key][0]
    rows = read_parquet(tables / f"{table}.parquet")
    write_parquet(rows.filter(pl.col(key) != gone), tables / f"{table}.parquet")
    screening = screened(tables, tmp_path / "second", cache=cache)
    days = [read_parquet(day_path(tables / "exposures", day)) for day in days_on_disk(tables / "exposures")]
    expected = sum((rows[key] == gone).sum() for rows in days)
    assert screening.counts["exposures"][f"unknown_{table[:-1]}"] == expected > 0


def test_a_window_that_ends_earlier_screens_the_days_it_cuts_anew(generated, tmp_path):
    cache = DayCache(tmp_path / "cache", "code")
    screened(generated, tmp_path / "first", cache=cache)
    earlier = WINDOW.model_copy(update={"end": date(2024, 3, 3), "train_days": 1})
    screening = screened(generated, tmp_path / "second", window=earlier, cache=cache)
    assert screening.counts == screened(generated, tmp_path / "third", window=earlier).counts
    assert screening.counts["exposures"]["future_time"] > 0
