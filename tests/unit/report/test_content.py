"""What a page says survives being stored: rendered again it is the same bytes, and what is no page is refused."""

import json
import math
import re

import numpy as np
import pytest

from watchline.report import Best, Callout, Facts, Link, Page, Table, Text, Verdict, by_day, charts, scatter

DAYS = [f"2024-03-0{day}" for day in range(1, 7)]


@pytest.fixture(scope="module")
def page() -> Page:
    page = Page("evaluate", "Title", "Lead", Verdict("info", "text", "Can't tell"))
    page.key_figures({"rows": np.int64(3), "share": 0.25}, {"share": ".0%"})
    cells = [
        ["a", Best(1.0), Verdict("warn", "drifted"), {"kind": "greedy"}],
        ["b", math.nan, Link("x.html", "x"), [1]],
    ]
    page.section(
        "Table", Table(["name", "value", "x", "y"], cells, "Caption", {"value": ".2f"}), note="Note", half=True
    )
    page.section(
        "Facts", Facts({"inf": math.inf, "kind": "mean"}), Text("`a` b"), Callout("fail", "c"), Verdict("pass")
    )
    values = {"psi": [0.1, None, 0.2, 0.3, 0.1, 0.2], "other": [1, 2, 3, 4, 5, 6]}
    page.section(
        "Charts",
        charts.line_chart({"a": (DAYS, np.arange(6) / 3), "b": (DAYS[:2], [1, math.nan])}, "day", "y", "Lines"),
        charts.histogram_chart({"a": (np.geomspace(1, 9, 4), [1, 2, 3])}, "s", "Histogram", log_x=True),
        scatter.scatter_chart({"m": scatter.Point(1, 2, 1.5, 2.5)}, "x", "y", "Scatter"),
        by_day.trend_chart(DAYS, values, "psi", "Trend", ["train"] * 4 + ["eval"] * 2, limit=0.2),
    )
    return page


def test_a_stored_page_is_rendered_to_the_same_bytes(page, tmp_path):
    page.write(tmp_path / "evaluate/index.html")
    stored = json.loads((tmp_path / "evaluate/page.json").read_text())
    again = Page.from_content(stored)
    assert again.render_at(tmp_path / "evaluate/index.html") == (tmp_path / "evaluate/index.html").read_text()
    assert again.render("..") == page.render("..")


def test_every_chart_has_its_data_as_a_table_with_the_places_of_its_marks(page):
    html = page.render("..")
    assert html.count("<summary>") == 4
    # lines 6 + 1, bins 3, points 1, days 5 + 6 with one value missing
    assert html.count("data-at=") == 7 + 3 + 1 + 11


def test_places_are_where_the_marks_are():
    figure = charts.line_chart({"a": ([0, 10], [0, 1])}, "x", "y", "Title")
    (left, low), (right, high) = figure.places[0, 1], figure.places[1, 1]
    assert left < right and high < low  # y of an SVG grows downwards
    x, y = re.search(r'data-series="0".*?d="M ([\d.]+) ([\d.]+)', figure.svg, re.S).groups()
    assert (left, low) == (pytest.approx(float(x), abs=0.06), pytest.approx(float(y), abs=0.06))


@pytest.mark.parametrize(
    ("block", "error"),
    [
        ({"kind": "script", "text": "x"}, "unknown block 'script'"),
        ({"kind": "figure", "chart": "eval", "arguments": {}}, "unknown chart 'eval'"),
        ({"kind": "link", "href": "javascript:alert(1)", "text": "x"}, "only relative paths"),
    ],
)
def test_what_is_no_block_is_refused_by_name(block, error):
    section = {"title": "T", "note": "", "half": False, "blocks": [block]}
    content = {"stage": "evaluate", "title": "T", "lead": "", "verdict": None, "key_figures": None}
    with pytest.raises(ValueError, match=error):
        Page.from_content(content | {"sections": [section]})


def test_a_trend_with_days_missing_names_the_series():
    with pytest.raises(ValueError, match="T: psi has 1 values, there are 6 days"):
        by_day.trend_chart(DAYS, {"psi": [1.0]}, "psi", "T")
