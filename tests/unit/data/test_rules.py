"""Row rules: each catches its defect and nothing else, and no row is lost."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from watchline.data.rules import (
    MEANINGS,
    RowLimits,
    exposure_rules,
    label_unparsable,
    screen,
    user_rules,
    video_rules,
)
from watchline.data.schema import EXPOSURES, USERS, VIDEOS
from watchline.data.sources.base import conform

LIMITS = RowLimits(max_play_s=86_400, max_duration_s=86_400, day_slack_h=3)
DAY = date(2024, 3, 1)
LAST_DAY = date(2024, 3, 2)
OFFSET_HOURS = 8
NOON = datetime(2024, 3, 1, 4, tzinfo=UTC)  # of the local day
GOOD = {
    "user_id": 1,
    "video_id": 10,
    "exposed_at": NOON,
    "date": DAY,
    "surface": 0,
    "watch_time_s": 5.0,
    "duration_s": 20.0,
    "is_random": False,
}


def exposures(*changes: dict) -> pl.DataFrame:
    """A good row for each dict of changes, the changes made to it; times a second apart so that no two are alike."""
    rows = [GOOD | {"exposed_at": NOON + timedelta(seconds=i)} | change for i, change in enumerate(changes)]
    return conform(pl.DataFrame(rows, infer_schema_length=None), EXPOSURES)


def screened(table: pl.DataFrame, filled=tuple(EXPOSURES)):
    ids = pl.Series("user_id", [1, 2, 3]), pl.Series("video_id", [10, 11])
    return screen(table, exposure_rules(LIMITS, LAST_DAY, OFFSET_HOURS, *ids, filled))


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("null_key", {"user_id": None}),
        ("null_key", {"video_id": None}),
        ("null_key", {"exposed_at": None}),
        ("null_key", {"watch_time_s": None}),
        ("future_time", {"exposed_at": NOON + timedelta(days=3), "date": date(2024, 3, 4)}),
        ("past_time", {"exposed_at": datetime(1970, 1, 1, 4, tzinfo=UTC), "date": date(1970, 1, 1)}),
        ("wrong_day", {"exposed_at": NOON - timedelta(days=1)}),
        ("wrong_day", {"exposed_at": NOON + timedelta(days=1)}),
        ("unknown_user", {"user_id": 4}),
        ("unknown_video", {"video_id": 12}),
        ("play_out_of_range", {"watch_time_s": -0.001}),
        ("play_out_of_range", {"watch_time_s": 86_400.1}),
        ("play_out_of_range", {"watch_time_s": float("nan")}),
        ("play_out_of_range", {"watch_time_s": float("inf")}),
        ("duration_out_of_range", {"duration_s": 0.0}),
        ("duration_out_of_range", {"duration_s": -1.0}),
        ("duration_out_of_range", {"duration_s": 86_401.0}),
        ("duration_out_of_range", {"duration_s": float("nan")}),
        ("duration_out_of_range", {"duration_s": None}),
    ],
)
def test_a_rule_catches_its_defect_and_no_other_rule_does(rule, change):
    result = screened(exposures({}, change, {"user_id": 2}))
    assert {name: count for name, count in result.counts.items() if count} == {rule: 1}
    assert result.quarantined["rules"].to_list() == [rule]
    assert result.clean["user_id"].to_list() == [1, 2]


@pytest.mark.parametrize(
    "change",
    [
        {"watch_time_s": 0.0},
        {"watch_time_s": 86_400.0},
        {"duration_s": 86_400.0},
        {"exposed_at": datetime(2024, 2, 29, 13, tzinfo=UTC)},  # three hours before the local day begins
        {"exposed_at": datetime(2024, 3, 1, 18, 59, 59, tzinfo=UTC)},  # one second less than three hours after its end
        {"surface": None, "is_random": None},
    ],
)
def test_a_row_on_the_edge_of_a_rule_is_clean(change):
    assert len(screened(exposures(change)).clean) == 1


def test_only_surplus_copies_are_duplicates():
    result = screened(pl.concat([exposures({}, {"user_id": 2})] * 3))
    assert result.clean["user_id"].to_list() == [1, 2]
    assert result.counts["duplicate"] == 4


def test_rows_that_differ_in_one_signal_are_no_duplicates():
    result = screened(exposures({}, {"exposed_at": NOON}).with_columns(is_like=pl.Series([True, False])))
    assert result.counts["duplicate"] == 0


def test_a_null_duration_is_clean_where_the_source_has_no_durations():
    filled = [name for name in EXPOSURES if name != "duration_s"]
    assert len(screened(exposures({"duration_s": None}), filled).clean) == 1


def test_a_row_that_breaks_several_rules_counts_for_each_and_is_named_after_the_first():
    result = screened(exposures({"user_id": 4, "watch_time_s": -1.0, "duration_s": 0.0}))
    assert result.quarantined["rule"].to_list() == ["unknown_user"]
    assert result.quarantined["rules"].to_list() == ["unknown_user,play_out_of_range,duration_out_of_range"]
    assert sum(result.counts.values()) == 3


def test_no_row_is_lost_or_reordered_whatever_is_broken():
    generator = np.random.default_rng(0)
    num_rows = 2000

    def some(values: np.ndarray) -> list:
        return [None if missing else value for value, missing in zip(values.tolist(), generator.random(num_rows) < 0.1)]

    seconds = generator.integers(-300_000, 300_000, num_rows)
    table = conform(
        pl.DataFrame(
            {
                "user_id": some(generator.integers(0, 6, num_rows)),
                "video_id": some(generator.integers(9, 13, num_rows)),
                "exposed_at": [NOON + timedelta(seconds=int(s)) for s in seconds],
                "date": [DAY] * num_rows,
                "surface": np.arange(num_rows),
                "watch_time_s": some(generator.normal(10, 20, num_rows)),
                "duration_s": some(generator.normal(10, 20, num_rows)),
            }
        ),
        EXPOSURES,
    )
    result = screened(table)
    assert 0 < len(result.clean) < num_rows
    for part in (result.clean, result.quarantined):
        assert part["surface"].is_sorted()
    both = pl.concat([result.clean, result.quarantined.drop("rule", "rules")]).sort("surface")
    assert both.equals(table)
    assert result.quarantined["rules"].str.split(",").list.len().sum() == sum(result.counts.values())


def test_an_empty_table_stays_empty():
    result = screened(exposures({}).clear())
    assert len(result.clean) == len(result.quarantined) == 0
    assert result.quarantined.columns == [*EXPOSURES, "rule", "rules"]


def test_users_keep_the_first_row_of_an_id():
    users = conform(pl.DataFrame({"user_id": [1, 1, 1, 2, None], "fans_count": [5, 5, 6, 7, 8]}), USERS)
    result = screen(users, user_rules())
    assert result.clean["user_id"].to_list() == [1, 2]
    assert result.quarantined["rule"].to_list() == ["duplicate", "conflicting_id", "null_key"]


def test_a_video_id_with_another_duration_is_a_conflict_not_a_duplicate():
    videos = conform(pl.DataFrame({"video_id": [1, 1], "duration_s": [5.0, 9.0]}), VIDEOS)
    assert screen(videos, video_rules()).counts == {"null_key": 0, "duplicate": 0, "conflicting_id": 1}


def test_every_rule_has_a_meaning_and_every_meaning_a_rule():
    ids = pl.Series([1]), pl.Series([1])
    all_rules = [*exposure_rules(LIMITS, LAST_DAY, 0, *ids, EXPOSURES), *user_rules(), *video_rules()]
    assert {rule.name for rule in all_rules} | {"unparsable"} == set(MEANINGS)


def test_unparsable_lines_are_labelled_as_a_quarantine_table():
    lines = pl.DataFrame({"file": ["a.csv"], "line": [2], "text": ["x,"], "reason": ["2 fields, not 3"]})
    assert label_unparsable(lines).row(0) == ("a.csv", 2, "x,", "2 fields, not 3", "unparsable", "unparsable")
