"""The generated tables: reproducible by day, and like a real log in what matters."""

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.helpers.canonical import small_config, write_canonical
from watchline.config import ConfigError, parse
from watchline.data.schema import EXPOSURES, SORT_KEY, USERS, VIDEOS
from watchline.data.sources.base import SourceTables
from watchline.data.synthetic import SyntheticConfig, generate
from watchline.data.synthetic.population import draw_population
from watchline.data.synthetic.source import read


def tables(**values) -> SourceTables:
    return read(Path(), small_config(**values))


@pytest.fixture(scope="module")
def week() -> SourceTables:
    """Two weeks at an eighth of the default size."""
    return tables(days=14, exposures=25_000, seed=7)


@pytest.fixture(scope="module")
def log(week) -> pl.DataFrame:
    return pl.concat([week.exposures_of(day) for day in week.days])


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    first, second = (write_canonical(tmp_path / name, seed=5) for name in ("a", "b"))
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert len(names) == 5 + 4 + 3
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_another_seed_gives_other_rows():
    first, second = (tables(seed=seed).exposures_of(dt.date(2024, 3, 2)) for seed in (0, 1))
    assert not first.equals(second)


def test_a_day_depends_on_no_other_day():
    short, long = tables(days=3, exposures=1500), tables(days=6, exposures=3000)
    for day in reversed(short.days):
        assert_frame_equal(short.exposures_of(day), long.exposures_of(day))
    assert_frame_equal(short.users, long.users.head(len(short.users)))
    assert_frame_equal(short.videos, long.videos.head(len(short.videos)))


def test_days_can_be_asked_for_in_any_order_and_again():
    of_days = tables()
    day = of_days.days[3]
    first = of_days.exposures_of(day)
    of_days.exposures_of(of_days.days[0])
    assert_frame_equal(first, of_days.exposures_of(day))


def test_a_long_day_is_drawn_in_parts_that_do_not_repeat_each_other(monkeypatch):
    monkeypatch.setattr(generate, "PART_ROWS", 300)
    of_days = tables(days=2, exposures=4000, defects=0.0)
    day = of_days.exposures_of(of_days.days[0])
    assert len(day) == round(2000 * 0.97)
    assert day.n_unique() == len(day)
    assert_frame_equal(day, of_days.exposures_of(of_days.days[0]))
    assert_frame_equal(day, day.sort(SORT_KEY))


def test_past_a_dense_day_half_of_the_growth_is_more_people():
    dense, denser = (draw_population(small_config(days=1, exposures=rows)) for rows in (20_000, 80_000))
    for few, many in ((dense.users, denser.users), (dense.videos, denser.videos)):
        assert len(many) == pytest.approx(2 * len(few), rel=0.01)


def test_tables_are_canonical_and_sorted(week):
    day = week.exposures_of(week.days[4])
    assert dict(day.schema) == EXPOSURES
    assert dict(week.users.schema) == USERS
    assert dict(week.videos.schema) == VIDEOS
    assert_frame_equal(day, day.sort(SORT_KEY))
    assert day["date"].unique().to_list() == [week.days[4]]


def test_rows_in_all_are_the_number_asked_for_over_whole_weeks(log):
    assert abs(len(log) - 25_000) <= 14


def test_every_id_of_the_log_is_in_its_table(week, log):
    assert log["user_id"].is_in(week.users["user_id"].implode()).all()
    assert log["video_id"].is_in(week.videos["video_id"].implode()).all()
    assert week.users["user_id"].is_unique().all()
    assert week.videos["video_id"].is_unique().all()


def test_new_users_and_videos_come_each_day_and_are_not_seen_before(week, log):
    for key, table in (("user_id", week.users), ("video_id", week.videos)):
        first_seen = log.group_by(key).agg(pl.col("date").min()).sort(key)
        latest = first_seen.filter(pl.col(key) >= len(table) - 2)["date"]
        assert (latest > week.days[9]).all()
        known = set(log.filter(pl.col("date") == week.days[0])[key])
        for day in week.days[1:]:
            today = set(log.filter(pl.col("date") == day)[key])
            assert today - known
            known |= today
    uploaded = dict(week.videos.select("video_id", "uploaded_on").iter_rows())
    assert all(uploaded[video] <= day for video, day in log.select("video_id", "date").unique().iter_rows())


def test_defects_come_at_the_rates_of_the_real_log(week, log):
    surplus = len(log) - log.n_unique()
    assert surplus / len(log) == pytest.approx(0.0256, abs=0.001)
    assert 0.004 < (log["duration_s"] == 0).mean() < 0.035
    unknown = week.videos.filter(pl.col("duration_s").is_null())["video_id"]
    of_unknown = log["video_id"].is_in(unknown.implode())
    assert ((log["duration_s"] == 0) == of_unknown).all()
    nulls = {name: count / len(week.users) for name, count in week.users.null_count().row(0, named=True).items()}
    assert nulls["is_live_streamer"] == pytest.approx(0.774, abs=0.06)
    for name in ("segment_4", "segment_12", "segment_17"):
        assert 0.005 < nulls[name] < 0.06
    assert nulls["follow_count"] == nulls["segment_0"] == 0
    for name in ("duration_s", "music_type", "tags"):
        assert week.videos[name].null_count() > 0


def test_no_defects_when_switched_off():
    clean = tables(days=2, exposures=4000, defects=0.0)
    log = pl.concat([clean.exposures_of(day) for day in clean.days])
    assert log.n_unique() == len(log)
    assert (log["duration_s"] > 0).all()
    assert sum(clean.users.null_count().row(0)) == sum(clean.videos.null_count().row(0)) == 0


def test_a_few_rows_are_booked_under_the_hour_after_their_time_as_in_the_real_log(log):
    local = pl.col("exposed_at").dt.offset_by("8h")
    conflict = log.select((local.dt.date() != pl.col("date")).mean()).item()
    late = log.select(((pl.col("logged_hourmin") // 100 - local.dt.hour()) % 24).alias("late"))["late"]
    assert 0.002 < conflict < 0.02
    assert set(late) == {0, 1}
    assert late.mean() == pytest.approx(0.166, abs=0.02)


def test_watch_times_look_like_the_real_log(log):
    watch_s = log["watch_time_s"]
    assert 3.5 < watch_s.median() < 7.0
    assert 16.0 < watch_s.mean() < 28.0
    assert (watch_s == 0).mean() == pytest.approx(0.098, abs=0.035)
    assert 0.10 < (watch_s > log["duration_s"]).mean() < 0.22
    assert watch_s.quantile(0.99) > 7.5 * watch_s.mean()


def test_surfaces_differ_as_in_the_real_log(log):
    of = log.group_by("surface").agg(
        pl.len(), zero=(pl.col("watch_time_s") == 0).mean(), mean=pl.col("watch_time_s").mean()
    )
    by = {row["surface"]: row for row in of.to_dicts()}
    assert by[1]["len"] / len(log) == pytest.approx(0.755, abs=0.06)
    assert by[0]["zero"] > 0.85 > 0.05 > by[1]["zero"]
    assert by[6]["mean"] < 0.6 * by[1]["mean"]


def test_longer_videos_are_watched_longer_but_not_by_the_median(log):
    known = log.filter(pl.col("duration_s") > 0)
    short, long = known.filter(pl.col("duration_s") < 20), known.filter(pl.col("duration_s") > 100)
    assert long["watch_time_s"].mean() > 2 * short["watch_time_s"].mean()
    assert 0.5 < long["watch_time_s"].median() / short["watch_time_s"].median() < 2.0


def test_trailing_statistics_tell_of_the_days_after(log):
    rows = log.unique(maintain_order=True).with_columns(value=pl.col("watch_time_s").log1p())
    old, new = rows.filter(pl.col("date") < dt.date(2024, 3, 11)), rows.filter(pl.col("date") >= dt.date(2024, 3, 11))
    for key, least in (("user_id", 0.25), ("video_id", 0.12), ("surface", 0.3)):
        past = old.group_by(key).agg(past=pl.col("value").mean(), count=pl.len()).filter(pl.col("count") >= 5)
        joined = new.join(past, on=key)
        assert np.corrcoef(joined["past"], joined["value"])[0, 1] > least, key


def test_interest_in_a_topic_drifts_away_and_fresh_days_tell_more():
    """Mean log watch by user segment and topic: three days old says more of a day than twelve days old."""
    source = tables(days=14, exposures=100_000, seed=2)
    log = pl.concat([source.exposures_of(day) for day in source.days]).filter(pl.col("surface") == 1)
    rows = (
        log.join(source.users.select("user_id", "segment_1"), on="user_id")
        .join(source.videos.select("video_id", "tags"), on="video_id")
        .with_columns(value=pl.col("watch_time_s").log1p(), topic=pl.col("tags").str.split(",").list.first())
    )

    def cells(first: int, last: int) -> pl.DataFrame:
        part = rows.filter(pl.col("date").is_between(source.days[first], source.days[last]))
        return part.group_by("segment_1", "topic").agg(mean=pl.col("value").mean(), count=pl.len())

    def correlation(first: int, last: int) -> float:
        joined = cells(first, last).join(cells(12, 13), on=["segment_1", "topic"]).filter(pl.col("count_right") > 30)
        return np.corrcoef(joined["mean"], joined["mean_right"])[0, 1]

    assert correlation(10, 11) > 0.6
    assert correlation(10, 11) > correlation(1, 2) + 0.3


def test_signals_agree_with_the_watch_time(log):
    stopped = log.filter(pl.col("watch_time_s") == 0)
    for name in ("is_click", "is_like", "is_follow", "long_view", "is_profile_enter"):
        assert not stopped[name].any(), name
    assert log["long_view"].mean() == pytest.approx(0.31, abs=0.08)
    assert log["is_click"].mean() == pytest.approx(0.44, abs=0.10)
    assert ((log["profile_stay_s"] > 0) <= log["is_profile_enter"]).all()


@pytest.mark.parametrize(
    ("key", "value"), [("seed", -1), ("days", 0), ("exposures", 10), ("drift", -0.5), ("defects", 9.0), ("day", 3)]
)
def test_a_parameter_out_of_range_or_unknown_is_named(key, value):
    values = small_config().model_dump() | {key: value}
    with pytest.raises(ConfigError, match=rf"ingest\.{key}: "):
        parse(SyntheticConfig, values, "ingest")
