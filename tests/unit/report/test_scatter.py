"""Named points: all are drawn and said in words, names that would cover each other stand apart."""

import re

import pytest

from watchline.report.scatter import Point, scatter_chart

POINTS = {"a": Point(1, 5.0, 4.9, 5.1), "b": Point(1.1, 5.001, 4.9, 5.2), "far": Point(900, 5.0, 5.0, 5.0)}


def heights(svg: str) -> dict[str, float]:
    """Vertical place of every name in the drawing."""
    found = re.findall(r'<text[^>]*?(?:y="([\d.]+)"|translate\([\d.]+ ([\d.]+)\))[^>]*>\s*(a|b|far)\s*</text>', svg)
    return {name: float(one or other) for one, other, name in found}


def test_names_near_each_other_stand_apart_and_far_ones_at_their_points():
    figure = scatter_chart(POINTS, "seconds", "MAE s", "MAE against seconds", log_x=True)
    placed = heights(figure.svg)
    assert set(placed) == set(POINTS)
    assert abs(placed["a"] - placed["b"]) > 8 and abs(placed["a"] - placed["far"]) < 1
    assert figure.description == "MAE s over seconds. a: 5 at 1; b: 5.001 at 1.1; far: 5 at 900"


def test_what_a_logarithmic_axis_cannot_hold_is_named():
    with pytest.raises(ValueError, match="a must be above 0"):
        scatter_chart({"a": Point(0, 1, 1, 1)}, "x", "y", "title", log_x=True)
    with pytest.raises(ValueError, match="no point"):
        scatter_chart({}, "x", "y", "title")
