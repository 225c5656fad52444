"""Blocks format values, align numbers, and refuse what cannot be shown."""

import datetime

import numpy as np
import pytest

from watchline.report import Best, Callout, Facts, Link, Table, Verdict
from watchline.report.values import show


@pytest.mark.parametrize(
    ("value", "spec", "text"),
    [
        (1234567, None, "1,234,567"),
        (0.61234567, None, "0.6123"),
        (12345.6, None, "12,346"),
        (0.00001234, None, "1.23e-05"),
        (-0.5, ".1%", "−50.0%"),
        (-0.0001, "+.3f", "0.000"),
        (np.float64(2.5), ".2f", "2.50"),
        (float("-inf"), None, "−∞"),
        (None, ".2f", "–"),
        (float("nan"), None, "–"),
        (True, ".2f", "yes"),
        (datetime.date(2024, 3, 1), None, "2024-03-01"),
        ("gr", ".2f", "gr"),
        ([0.123456, 2], None, "0.1235, 2"),
        ({"kind": "greedy", "rank": 8}, None, "kind greedy; rank 8"),
        ([], None, "none"),
    ],
)
def test_values_read_as_people_write_them(value, spec, text):
    assert show(value, spec).text == text


def test_a_format_that_does_not_fit_names_itself_and_the_value():
    with pytest.raises(ValueError, match=r"'.2q'.*1.5"):
        show(1.5, ".2q")


def test_a_column_is_numeric_when_all_that_is_there_is_a_number():
    table = Table(["name", "a", "b", "c"], [["x", 1, 1, None], ["y", None, "one", None], ["z", Best(2.0), 3, None]])
    assert table.numeric == [False, True, False, False]


def test_missing_values_sort_apart_from_numbers():
    assert [c.shown.sort for row in Table(["a"], [[None], [1e-7]]).cells for c in row] == ["", "1e-07"]


def test_a_ragged_row_names_the_table_and_the_row():
    with pytest.raises(ValueError, match=r"'Errors': row 1 has 1 cells, there are 2 columns"):
        Table(["a", "b"], [[1, 2], [3]], "Errors")


def test_a_format_for_no_column_is_an_error():
    with pytest.raises(ValueError, match="mae"):
        Table(["a"], [], formats={"mae": ".2f"})


@pytest.mark.parametrize("kind", [Verdict, Callout])
def test_an_unknown_status_is_an_error_that_lists_the_statuses(kind):
    with pytest.raises(ValueError, match=r"'good'.*pass, warn, fail, info"):
        kind("good", "text")


@pytest.mark.parametrize("href", ["javascript:alert(1)", " JavaScript:alert(1)", "data:text/html,x", "file:///etc"])
def test_links_cannot_carry_another_scheme(href):
    with pytest.raises(ValueError, match="only relative paths and https"):
        Link(href, "text")


def test_a_short_verdict_in_a_table_is_its_own_badge():
    assert Verdict("pass", "stable").is_short
    assert not Verdict("pass").is_short
    assert not Verdict("pass", "all 30 expectations hold, none was left out").is_short


def test_facts_use_the_format_of_their_name():
    assert [c.shown.text for _, c in Facts({"a": 0.5, "b": 0.5}, {"a": ".0%"}).cells] == ["50%", "0.5"]
