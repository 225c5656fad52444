"""Daily snapshots and updates: which exposures they describe, and what they say about them."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tests.helpers.statistics import statistics_of
from watchline.data.schema import TIMESTAMP
from watchline.feature_store.groups import GROUPS
from watchline.feature_store.snapshots import TIME, known_at, start_of_day

DAY = date(2024, 3, 8)
GROUP = {group.name: group for group in GROUPS}


def exposures(rows: list[tuple[float, float]], offset: float = 0.0, **columns: object) -> pl.DataFrame:
    """One user and video; `rows` = (hours before the start of DAY, watch time in seconds)."""
    start = start_of_day(DAY, offset)
    times = [start - timedelta(hours=hours) for hours, _ in rows]
    frame = pl.DataFrame(
        {
            "user_id": 1,
            "video_id": 2,
            "author_id": 3,
            "topic": "t",
            "surface": 0,
            "exposed_at": pl.Series(times, dtype=TIMESTAMP),
            "watch_time_s": [float(watch) for _, watch in rows],
            "duration_s": 10.0,
        }
    )
    local = (pl.col("exposed_at") + timedelta(hours=offset)).dt.date()
    return frame.with_columns(local.alias("date")).with_columns(**columns)


def several(num_rows: int, seed: int, first: float = 160.0, last: float = 0.0, watch_s: float = 10.0) -> pl.DataFrame:
    """Exposures of several users, videos, authors (some unknown), topics and surfaces."""
    rng = np.random.default_rng(seed)
    hours = rng.uniform(last, first, num_rows).round(2)
    videos = rng.integers(0, 12, num_rows)
    return exposures(
        list(zip(hours.tolist(), rng.exponential(watch_s, num_rows).round(3).tolist())),
        user_id=pl.Series(rng.integers(0, 6, num_rows)),
        video_id=pl.Series(videos),
        author_id=pl.Series([None if video > 9 else int(video) // 3 for video in videos], dtype=pl.Int64),
        topic=pl.Series([None if video == 0 else f"t{video % 4}" for video in videos], dtype=pl.String),
        surface=pl.Series(rng.integers(0, 3, num_rows)),
    )


@pytest.fixture
def snapshot(tmp_path_factory):
    """The table of one group on one day."""

    def compute(frame, group="user_stats", day=DAY, offset=0.0, **parameters) -> pl.DataFrame:
        scratch = tmp_path_factory.mktemp("statistics")
        return statistics_of(frame, [day], scratch, offset, **parameters)[day][group]

    return compute


def test_windows_hold_the_trailing_days_and_nothing_of_the_day_itself(snapshot):
    rows = [(1, 1.0), (24, 2.0), (24.5, 4.0), (72.5, 8.0), (167, 16.0), (169, 32.0), (0, 64.0), (-5, 128.0)]
    table = snapshot(exposures(rows))
    assert table["user_exposures_1d"].item() == 2
    assert table["user_exposures_3d"].item() == 3
    assert table["user_exposures_7d"].item() == 5
    assert table["user_exposures_all"].item() == 6
    assert table["user_watch_mean_7d"].item() == pytest.approx((1 + 2 + 4 + 8 + 16) / 5)
    assert table["user_watch_mean_all"].item() == pytest.approx((1 + 2 + 4 + 8 + 16 + 32) / 6)


def test_statistics_by_hand(snapshot):
    table = snapshot(exposures([(1, 0.0), (2, 5.0), (3, 20.0), (4, 100.0)])).row(0, named=True)
    assert 4.0 < table["user_watch_median_1d"] <= 6.0, "half of the plays are of 5 s and less"
    assert table["user_log_mean_1d"] == pytest.approx(np.mean(np.log1p([0, 5, 20, 100])), abs=1e-6)
    assert table["user_ratio_mean_1d"] == pytest.approx((0 + 0.5 + 2 + 5) / 4), "a ratio above 5 counts as 5"
    assert table["user_skip_rate_1d"] == 0.25
    assert table["user_completion_rate_1d"] == 0.5


def test_one_day_long_play_does_not_move_the_mean_beyond_the_cap(snapshot):
    table = snapshot(exposures([(30, 86_400.0), (2, 0.0)]))
    assert table["user_watch_mean_1d"].item() == 300.0


def test_few_exposures_count_as_their_parents_and_many_as_their_own(snapshot):
    rare = exposures([(1, 100.0)], user_id=9, surface=4)
    often = exposures([(2, 10.0)] * 99)
    frame = pl.concat([rare, often], how="vertical_relaxed")
    everybody = (100 + 99 * 10) / 100
    means = dict(snapshot(frame, shrinkage=4.0).select("user_id", "user_watch_mean_7d").iter_rows())
    assert means[9] == pytest.approx((100 + 4 * everybody) / 5)
    assert means[1] == pytest.approx((990 + 4 * everybody) / 103)
    pairs = snapshot(frame, "user_surface_stats", shrinkage=4.0)
    of_pair = dict(pairs.select("user_id", "user_surface_watch_mean_7d").iter_rows())
    assert of_pair[9] == pytest.approx((100 + 4 * means[9]) / 5), "a pair's parent is its first entity"
    assert pairs["user_surface_exposures_7d"].to_list() == [99, 1], "counts are never shrunk"


def test_pairs_of_fewer_exposures_than_asked_have_no_row(snapshot):
    frame = pl.concat([exposures([(1, 1.0)], surface=4), exposures([(2, 1.0)] * 2)], how="vertical_relaxed")
    assert snapshot(frame, "user_surface_stats", pair_min_exposures=2)["surface"].to_list() == [0]


def test_a_snapshot_is_known_at_the_start_of_its_local_day(snapshot):
    table = snapshot(exposures([(1, 1.0)], offset=8.0), offset=8.0)
    assert table[TIME].item() == datetime(2024, 3, 7, 16, tzinfo=UTC)


def test_an_exposure_before_midnight_that_the_source_dates_a_day_later_waits_for_that_day(snapshot):
    late = exposures([(0.5, 7.0)]).with_columns(date=pl.lit(DAY))
    assert late.select(known_at(0.0)).item() == start_of_day(DAY, 0.0)
    assert snapshot(late).is_empty()
    assert snapshot(late, day=DAY + timedelta(days=1))["user_exposures_1d"].item() == 1


def test_an_exposure_after_midnight_that_the_source_dates_a_day_earlier_never_enters_its_own_day(snapshot):
    early = exposures([(-0.5, 7.0)]).with_columns(date=pl.lit(DAY - timedelta(days=1)))
    assert snapshot(early).is_empty(), "its snapshot would be known before it was over"


def test_a_play_that_runs_over_midnight_is_not_known_at_midnight(snapshot):
    frame = exposures([(0.5, 1799.0), (0.25, 901.0)])
    assert snapshot(frame)["user_exposures_1d"].item() == 1
    assert snapshot(frame, day=DAY + timedelta(days=1))["user_exposures_3d"].item() == 2


def test_entities_without_history_or_key_have_no_row(snapshot):
    frame = pl.concat(
        [exposures([(1, 1.0)]), exposures([(2, 1.0)], author_id=None, video_id=4, user_id=9)],
        how="vertical_relaxed",
    )
    frame = pl.concat([frame, exposures([(200, 1.0)], user_id=8)], how="vertical_relaxed")
    assert snapshot(frame, all_time=False)["user_id"].to_list() == [1, 9]
    assert snapshot(frame)["user_id"].to_list() == [1, 8, 9], "all time forgets nobody"
    assert snapshot(frame, "author_stats")["author_id"].to_list() == [3]


def test_a_window_without_exposures_counts_zero_and_has_no_mean(snapshot):
    table = snapshot(exposures([(100, 1.0)])).row(0, named=True)
    assert table["user_exposures_1d"] == 0 and table["user_exposures_3d"] == 0 and table["user_exposures_7d"] == 1
    assert table["user_watch_mean_3d"] is None


@pytest.mark.parametrize("shrinkage", [0.0, 5.0])
def test_sums_of_days_give_what_the_rows_give(snapshot, shrinkage):
    frame = several(600, seed=5, first=300.0)
    for name in ("user_stats", "author_stats"):
        group, table = GROUP[name], snapshot(frame, name, shrinkage=shrinkage, pair_all_time=True)
        known = frame.with_columns(known_at(0.0).alias("known")).filter(pl.col("known") < start_of_day(DAY, 0.0))
        known = known.drop_nulls(list(group.keys))
        for window, days in (("1d", 1), ("3d", 3), ("7d", 7), ("all", 9999)):
            rows = known.filter(pl.col("known") >= start_of_day(DAY, 0.0) - timedelta(days=days))
            everybody = rows["watch_time_s"].mean()
            for row in table.iter_rows(named=True):
                own = rows.filter(pl.all_horizontal(pl.col(key) == row[key] for key in group.keys))["watch_time_s"]
                assert row[f"{group.prefix}_exposures_{window}"] == len(own)
                shrunk = (own.sum() + shrinkage * everybody) / (len(own) + shrinkage) if len(own) + shrinkage else None
                assert row[f"{group.prefix}_watch_mean_{window}"] == (
                    None if shrunk is None else pytest.approx(shrunk, abs=1e-3)
                )


def test_the_order_of_rows_and_their_split_into_files_change_no_bit(snapshot):
    frame = several(300, seed=2)
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=1)
    for group in GROUPS:
        table = snapshot(frame, group.name, shrinkage=3.0)
        assert table.equals(snapshot(shuffled, group.name, shrinkage=3.0))
        assert table.select(group.keys).equals(table.select(group.keys).sort(group.keys))


@pytest.mark.parametrize("shrinkage", [0.0, 5.0])
def test_updates_say_what_was_over_before_each_moment(snapshot, shrinkage):
    frame = several(250, seed=4, last=-20.0, first=230.0, watch_s=2000.0)
    known = frame.with_columns(known_at(0.0).alias("known"))
    for name in ("user_stats", "author_stats", "user_surface_stats"):
        group = GROUP[name]
        table = snapshot(frame, name, freshness="event", shrinkage=shrinkage, pair_all_time=True)
        fresh = table.filter(pl.col(TIME) > start_of_day(DAY, 0.0))
        assert fresh[TIME].is_sorted() and len(fresh) > 10
        for row in fresh.iter_rows(named=True):
            past = known.filter(pl.col("known") < row[TIME]).drop_nulls(list(group.keys))
            windows = [("7d", 7), ("all", 9999)] + ([] if group.pair else [("1d", 1)])
            for window, days in windows:
                part = past.filter(pl.col("known") > row[TIME] - timedelta(days=days, microseconds=1))
                log_mean = mean_log(part, None, 0.0)
                for level in range(1, len(group.keys) + 1):
                    log_mean = mean_log(_same(part, row, group.keys[:level]), log_mean, shrinkage)
                assert row[f"{group.prefix}_exposures_{window}"] == len(_same(part, row, group.keys))
                assert row[f"{group.prefix}_log_mean_{window}"] == pytest.approx(log_mean, abs=1e-5)


def _same(rows: pl.DataFrame, row: dict, keys: tuple[str, ...]) -> pl.DataFrame:
    return rows.filter(pl.all_horizontal(pl.col(key) == row[key] for key in keys))


def mean_log(rows: pl.DataFrame, prior: float | None, strength: float) -> float:
    values = rows["watch_time_s"].log1p()
    return (values.sum() + strength * (prior or 0.0)) / (len(values) + strength)


def test_updates_have_the_columns_of_snapshots(snapshot):
    frame = exposures([(1, 1.0), (-2, 2.0)])
    for group in GROUPS:
        daily, event = snapshot(frame, group.name), snapshot(frame, group.name, freshness="event")
        assert daily.schema == event.schema and len(event) == len(daily) + 1


def test_exposures_that_become_known_together_give_one_update(snapshot):
    frame = exposures([(-2, 0.0), (-2, 0.0), (-1, 3600.0), (-1.5, 1800.0)])
    table = snapshot(frame, freshness="event")
    assert table["user_exposures_1d"].to_list() == [4]
