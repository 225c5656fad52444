"""Charts are small, say in words what they draw, and lose no peak."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from watchline.report import charts
from watchline.report.drawing import _VARIABLES


def _all_charts():
    generator = np.random.default_rng(0)
    xs, ys = np.arange(20_000), generator.random(20_000)
    labels = [f"column {i}" for i in range(40)]
    edges = np.linspace(0, 10, 101)
    return [
        charts.line_chart({"train": (xs, ys), "valid": (xs[::100], ys[::100])}, "step", "loss", "Loss", log_y=True),
        charts.bar_chart(labels, {"gr": ys[:40], "lightgbm": ys[40:80]}, "MAE (s)", "Errors"),
        charts.interval_chart(labels, ys[:40], ys[:40] - 1, ys[:40] + 1, "lift", "Lift"),
        charts.histogram_chart({"train": (edges, ys[:100]), "eval": (edges, ys[100:200])}, "seconds", "Watch time"),
    ]


@pytest.mark.parametrize("chart", _all_charts(), ids=lambda chart: chart.title)
def test_a_chart_is_well_formed_small_and_coloured_by_the_page(chart):
    ElementTree.fromstring(chart.svg)
    assert len(chart.svg) < 60_000
    assert not [colour for colour in _VARIABLES if colour in chart.svg]
    assert "var(--s1)" in chart.svg
    assert set(re.findall(r"#[0-9a-f]{6}\b", chart.svg)) <= {"#000000", "#ffffff"}
    assert "<image" not in chart.svg


def test_tick_labels_keep_their_digits():
    chart = charts.line_chart({"a": ([0, 1], [0.001, 0.004])}, "x", "y", "Title")
    assert ">0.0015<" in chart.svg and ">0.0020<" in chart.svg


def test_drawing_twice_gives_the_same_bytes():
    assert [chart.svg for chart in _all_charts()] == [chart.svg for chart in _all_charts()]


def test_a_thinned_line_keeps_its_ends_and_its_peak():
    xs, ys = np.arange(10_000.0), np.zeros(10_000)
    ys[4_321] = 9.0
    kept_xs, kept_ys = charts._thin(xs, ys)
    assert len(kept_xs) <= charts.MAX_POINTS
    assert kept_xs[0] == 0 and kept_xs[-1] == 9_999
    assert kept_ys.max() == 9.0
    assert (np.diff(kept_xs) > 0).all()


def test_the_description_says_what_the_eye_would_see():
    chart = charts.line_chart({"gr": (["2024-03-01", "2024-03-02"], [2.0, 1.0])}, "day", "MAE (s)", "MAE by day")
    assert chart.description == ("MAE (s) over day. gr: from 2 at 2024-03-01 to 1 at 2024-03-02, lowest 1, highest 2")


def test_days_of_two_series_share_one_axis():
    days = [f"2024-03-0{i}" for i in range(1, 5)]
    chart = charts.line_chart({"a": (days, [1, 2, 3, 4]), "b": (days[2:], [1, 2])}, "day", "y", "Days")
    assert chart.svg.count(">03-0") == 4


def test_missing_values_are_left_out():
    chart = charts.line_chart({"a": ([1, 2, 3], [1.0, None, float("nan")])}, "x", "y", "Title")
    assert "highest 1" in chart.description


def test_words_of_a_chart_keep_their_spaces():
    figure = charts.bar_chart(["video < 7 s"], [0.6], "XAUC; 0.5 is chance", "Title")
    assert "video &lt; 7 s" in figure.svg and "XAUC; 0.5 is chance" in figure.svg


def test_dollars_in_a_label_are_no_mathematics():
    assert "$x$" in charts.bar_chart(["$x$"], [1.0], "y", "Title").svg


@pytest.mark.parametrize(
    "draw",
    [
        lambda: charts.line_chart({"a": ([1, 2], [1.0])}, "x", "y", "Title"),
        lambda: charts.line_chart({"a": ([1], [None])}, "x", "y", "Title"),
        lambda: charts.bar_chart(["a"], [1, 2], "y", "Title"),
        lambda: charts.interval_chart(["a"], [1], [0], [2, 3], "x", "Title"),
        lambda: charts.histogram_chart({"a": ([0, 1], [1, 2])}, "x", "Title"),
    ],
)
def test_what_cannot_be_drawn_is_an_error_that_names_the_chart(draw):
    with pytest.raises(ValueError, match="Title"):
        draw()
