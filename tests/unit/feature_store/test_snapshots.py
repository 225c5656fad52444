"""Daily snapshots: which exposures a snapshot describes, and what it says about them."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from watchline.data.schema import TIMESTAMP
from watchline.feature_store.snapshots import GROUPS, TIME, known_at, snapshots, start_of_day, updates

DAY = date(2024, 3, 8)
WINDOWS = {group.name: [7] if group.pair else [1, 3, 7] for group in GROUPS}


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


def snapshot(frame: pl.DataFrame, group: str = "user_stats", day: date = DAY, offset: float = 0.0) -> pl.DataFrame:
    return next(iter(snapshots(frame, [day], WINDOWS, offset)))[1][group]


def test_windows_hold_the_trailing_days_and_nothing_of_the_day_itself():
    rows = [(1, 1.0), (24, 2.0), (24.5, 4.0), (72.5, 8.0), (167, 16.0), (169, 32.0), (0, 64.0), (-5, 128.0)]
    table = snapshot(exposures(rows))
    assert table["user_exposures_1d"].item() == 2
    assert table["user_exposures_3d"].item() == 3
    assert table["user_exposures_7d"].item() == 5
    assert table["user_watch_mean_7d"].item() == pytest.approx((1 + 2 + 4 + 8 + 16) / 5)


def test_statistics_by_hand():
    table = snapshot(exposures([(1, 0.0), (2, 5.0), (3, 20.0), (4, 100.0)])).row(0, named=True)
    assert table["user_watch_median_1d"] == 12.5
    assert table["user_log_mean_1d"] == pytest.approx(np.mean(np.log1p([0, 5, 20, 100])))
    assert table["user_ratio_mean_1d"] == pytest.approx((0 + 0.5 + 2 + 5) / 4), "a ratio above 5 counts as 5"
    assert table["user_skip_rate_1d"] == 0.25
    assert table["user_completion_rate_1d"] == 0.5


def test_one_day_long_play_does_not_move_the_mean_beyond_the_cap():
    table = snapshot(exposures([(30, 86_400.0), (2, 0.0)]))
    assert table["user_watch_mean_1d"].item() == 300.0


def test_a_snapshot_is_known_at_the_start_of_its_local_day():
    table = snapshot(exposures([(1, 1.0)], offset=8.0), offset=8.0)
    assert table[TIME].item() == datetime(2024, 3, 7, 16, tzinfo=UTC)


def test_an_exposure_before_midnight_that_the_source_dates_a_day_later_waits_for_that_day():
    late = exposures([(0.5, 7.0)]).with_columns(date=pl.lit(DAY))
    assert late.select(known_at(0.0)).item() == start_of_day(DAY, 0.0)
    assert snapshot(late).is_empty()
    assert snapshot(late, day=DAY + timedelta(days=1))["user_exposures_1d"].item() == 1


def test_an_exposure_after_midnight_that_the_source_dates_a_day_earlier_never_enters_its_own_day():
    early = exposures([(-0.5, 7.0)]).with_columns(date=pl.lit(DAY - timedelta(days=1)))
    assert snapshot(early).is_empty(), "its snapshot would be known before it was over"


def test_a_play_that_runs_over_midnight_is_not_known_at_midnight():
    frame = exposures([(0.5, 1799.0), (0.25, 901.0)])
    assert snapshot(frame)["user_exposures_1d"].item() == 1
    assert snapshot(frame, day=DAY + timedelta(days=1))["user_exposures_3d"].item() == 2


def test_entities_without_history_or_key_have_no_row():
    frame = pl.concat(
        [exposures([(1, 1.0)]), exposures([(2, 1.0)], author_id=None, user_id=9), exposures([(200, 1.0)], user_id=8)],
        how="vertical_relaxed",
    )
    assert snapshot(frame)["user_id"].to_list() == [1, 9]
    assert snapshot(frame, "author_stats")["author_id"].to_list() == [3]


def test_a_window_without_exposures_counts_zero_and_has_no_mean():
    table = snapshot(exposures([(100, 1.0)])).row(0, named=True)
    assert table["user_exposures_1d"] == 0 and table["user_exposures_3d"] == 0 and table["user_exposures_7d"] == 1
    assert table["user_watch_mean_3d"] is None


def test_later_days_change_no_earlier_snapshot_and_a_planted_leak_would_show():
    rng = np.random.default_rng(1)
    rows = [(float(h), float(w)) for h, w in zip(rng.uniform(-72, 160, 400), rng.exponential(10, 400))]
    frame = exposures(rows, user_id=pl.Series(rng.integers(0, 20, 400)))
    later = pl.col("date") >= DAY
    poisoned = frame.with_columns(pl.when(later).then(1e6).otherwise("watch_time_s").alias("watch_time_s"))
    for group in GROUPS:
        assert snapshot(frame, group.name).equals(snapshot(poisoned, group.name))
    leaking = frame.with_columns(
        exposed_at=pl.col("exposed_at") - timedelta(days=1), date=pl.col("date") - timedelta(days=1)
    )
    assert not snapshot(frame).equals(snapshot(leaking))


def test_row_order_does_not_matter_to_the_bytes():
    rng = np.random.default_rng(2)
    rows = [(float(h), float(w)) for h, w in zip(rng.uniform(0, 160, 300), rng.exponential(10, 300))]
    frame = exposures(rows, user_id=pl.Series(rng.integers(0, 9, 300)))
    assert snapshot(frame).equals(snapshot(frame)), "the same rows give the same bytes"
    assert snapshot(frame)["user_id"].is_sorted()


def test_updates_say_what_was_over_before_each_moment():
    rng = np.random.default_rng(4)
    rows = [(float(h), float(w)) for h, w in zip(rng.uniform(-20, 160, 250).round(2), rng.exponential(2000, 250))]
    frame = exposures(rows, user_id=pl.Series(rng.integers(0, 6, 250)), surface=pl.Series(rng.integers(0, 3, 250)))
    known = frame.with_columns(known_at(0.0).alias("known"))
    for group in (GROUPS[0], GROUPS[3]):
        table = updates(frame, WINDOWS, 0.0)[group.name]
        assert table[TIME].is_sorted() and len(table) == len(frame)
        for row in table.gather_every(10).iter_rows(named=True):
            same = pl.all_horizontal(pl.col(key) == row[key] for key in group.keys)
            past = known.filter(same, pl.col("known") < row[TIME])
            for window in WINDOWS[group.name]:
                part = past.filter(pl.col("known") > row[TIME] - timedelta(days=window, microseconds=1))
                assert row[f"{group.prefix}_exposures_{window}d"] == len(part)
                assert row[f"{group.prefix}_watch_median_{window}d"] == part["watch_time_s"].median()
                assert row[f"{group.prefix}_log_mean_{window}d"] == pytest.approx(part["watch_time_s"].log1p().mean())


def test_updates_have_the_columns_of_snapshots():
    frame = exposures([(1, 1.0), (2, 2.0)])
    for name, table in updates(frame, WINDOWS, 0.0).items():
        assert table.schema == snapshot(frame, name).schema


def test_exposures_that_become_known_together_give_one_update():
    frame = exposures([(1, 0.0), (1, 0.0), (2, 3600.0)])
    table = updates(frame, WINDOWS, 0.0)["user_stats"]
    assert table["user_exposures_1d"].to_list() == [3]
