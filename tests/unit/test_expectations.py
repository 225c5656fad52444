"""Dataset rules: what passes, what fails, and what could not be evaluated are told apart."""

from pathlib import Path

import polars as pl
import pytest
import yaml

from watchline.config import ConfigError, parse
from watchline.expectations import (
    Check,
    ValidateConfig,
    combine,
    days_suite,
    evaluate,
    exposures_suite,
    failures,
    measure,
    quarantine_suite,
    schema_suite,
    suite_key,
    users_suite,
    videos_suite,
)

ROOT = Path(__file__).resolve().parents[2]


def settings(**changes: dict) -> dict:
    """conf/validate/default.yaml with sections changed."""
    values = yaml.safe_load((ROOT / "conf/validate/default.yaml").read_text())
    return {section: entries | changes.get(section, {}) for section, entries in values.items()}


def config(**changes: dict) -> ValidateConfig:
    return parse(ValidateConfig, settings(**changes), "validate")


def days(**changes: list) -> pl.DataFrame:
    columns = {
        "date": ["2024-03-01", "2024-03-02"],
        "rows": [10, 10],
        "present": [True, True],
        "volume_ratio": [1.0, 1.0],
        "watch_ratio": [1.0, 1.0],
        "watch_distance": [0.0, 0.1],
        "days_behind": [0, 0],
    }
    return pl.DataFrame(columns | changes)


def names_of_failures(results) -> list[str]:
    return [result.name for result in failures(results)]


def test_the_defaults_are_a_config():
    assert config().rows.max_play_s == 86_400


@pytest.mark.parametrize(
    ("section", "change", "words"),
    [
        ("rows", {"max_play_s": -1}, ["rows.max_play_s", "greater than 0", "-1"]),
        ("rows", {"max_plai_s": 1}, ["rows.max_plai_s", "unknown parameter"]),
        ("days", {"volume_factor": 0.5}, ["days.volume_factor", "greater than 1", "0.5"]),
        ("tables", {"max_null_share": "many"}, ["tables.max_null_share", "number", "many"]),
        ("tables", {"max_null_share_of_column": {"fans": 0.5}}, ["no canonical column is called 'fans'"]),
        ("quarantine", {"max_share": 1.5}, ["quarantine.max_share", "less than or equal to 1"]),
        ("quarantine", {"max_share_of_rule": {"duplicates": 0.1}}, ["no row rule is called 'duplicates'", "duplicate"]),
        ("quarantine", {"max_share_of_rule": {"duplicate": -0.1}}, ["duplicate: a share lies between 0 and 1"]),
    ],
)
def test_a_wrong_parameter_is_an_error_that_names_key_rule_and_value(section, change, words):
    with pytest.raises(ConfigError) as error:
        config(**{section: change})
    for word in words:
        assert word in str(error.value)


def test_good_days_pass():
    results = evaluate("days", days_suite(config()), days())
    assert [result.status for result in results] == ["pass"] * 5


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"present": [True, False]}, "present"),
        ({"volume_ratio": [1.0, 3.1]}, "rows a day"),
        ({"volume_ratio": [0.3, 1.0]}, "rows a day"),
        ({"watch_ratio": [1.0, 2.1]}, "mean watch time a day"),
        ({"watch_distance": [0.3, 0.1]}, "distribution of watch time a day"),
        ({"days_behind": [1, 1]}, "days behind window.end"),
    ],
)
def test_a_day_that_is_off_fails_the_one_rule_about_it(change, name):
    assert names_of_failures(evaluate("days", days_suite(config()), days(**change))) == [name]


def test_a_failure_shows_example_rows_and_what_was_observed():
    results = evaluate("days", days_suite(config()), days(present=[True, False]), ["date"])
    (failed,) = failures(results)
    assert failed.examples == [{"present": "False", "date": "2024-03-02"}]
    assert failed.observed == "1 of 2 break it (50.000%)"


def test_an_expectation_that_raises_is_an_error_and_no_failure():
    results = evaluate("days", days_suite(config()), days(volume_ratio=[9.0, 1.0]).drop("watch_ratio"))
    by_name = {result.name: result for result in results}
    assert by_name["mean watch time a day"].status == "error"
    assert "watch_ratio" in by_name["mean watch time a day"].observed
    assert by_name["rows a day"].status == "fail"
    assert names_of_failures(results) == ["rows a day", "mean watch time a day"]


def test_a_rule_must_hold_in_each_part_and_names_the_worst():
    checks = days_suite(config())
    parts = {"a": days(), "b": days(present=[True, False]), "c": days(present=[False, False], days_behind=[3, 3])}
    results = combine("days", checks, {name: measure("days", checks, part) for name, part in parts.items()})
    by_name = {result.name: result for result in results}
    assert (
        by_name["present"].observed == "3 of 6 break it (50.000%); on c: 2 of 2 break it (100.000%) and on 1 other days"
    )
    assert by_name["days behind window.end"].observed == "0 to 3 by day; on c: 3"
    assert by_name["rows a day"].status == "pass"


def test_a_part_that_cannot_be_evaluated_is_an_error_that_names_it():
    checks = days_suite(config())
    parts = {"a": measure("days", checks, days()), "b": measure("days", checks, days().drop("present"))}
    (error,) = failures(combine("days", checks, parts))
    assert (error.name, error.status) == ("present", "error")
    assert error.observed.startswith("not evaluated on b: ")


def test_a_suite_is_another_with_another_bound():
    keys = [suite_key(days_suite(config(days={"volume_factor": factor}))) for factor in (2.0, 3.0, 3.0)]
    assert keys[0] != keys[1] == keys[2]


def test_results_keep_the_order_of_the_checks():
    checks = days_suite(config())
    results = evaluate("days", checks, days().drop("present"))
    assert [result.name for result in results] == [check.name for check in checks]


def test_results_are_the_same_every_time():
    first, second = (evaluate("days", days_suite(config()), days(volume_ratio=[9.0, 1.0])) for _ in range(2))
    assert first == second


def test_names_within_a_suite_are_unique():
    filled = ["user_id", "video_id", "surface", "duration_s", "follow_count", "width", "is_live_streamer"]
    suites = [
        schema_suite(),
        exposures_suite(config(), filled),
        users_suite(config(), filled),
        videos_suite(config(), filled),
        days_suite(config()),
        quarantine_suite(config(), ["exposures.duplicate", "exposures.all"]),
    ]
    for suite in suites:
        assert len({check.name for check in suite}) == len(suite)
        assert all(isinstance(check, Check) and check.expected and check.advice for check in suite)


def test_quarantine_shares_are_bounded_by_rule_and_in_total():
    limits = config(quarantine={"max_share": 0.2, "max_share_of_rule": {"duplicate": 0.1}})
    shares = {"exposures.duplicate": 0.11, "exposures.unknown_user": 0.15, "exposures.all": 0.21}
    results = evaluate("quarantine", quarantine_suite(limits, shares), pl.DataFrame([shares]))
    assert names_of_failures(results) == ["exposures.duplicate", "exposures.all"]
    assert results[0].observed == "11.000%"
    assert "max_share_of_rule.duplicate" in results[0].advice


def test_a_column_may_have_nulls_up_to_its_own_share():
    users = pl.DataFrame({"user_id": [1, 2, 3], "fans_count": [1, None, None]})
    suites = [
        users_suite(config(tables={"max_null_share_of_column": share}), ["user_id", "fans_count"])
        for share in ({}, {"fans_count": 0.7})
    ]
    assert names_of_failures(evaluate("users", suites[0], users)) == ["fans_count is there"]
    assert names_of_failures(evaluate("users", suites[1], users)) == []
