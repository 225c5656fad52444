"""The section on early stopping: which looks it draws, and what it says of looks that contradict each other."""

from watchline.experiment.planning_page import add_sequence
from watchline.report import Page


def test_looks_whose_bounds_cross_at_the_end_do_not_hide_the_others():
    found = {
        "sessions": [10, 20, 30, 40],
        "days": ["d"] * 4,
        "lift": [0.0, 0.1, 0.1, -0.3],
        "low": [None, -0.2, -0.1, 0.05],
        "high": [None, 0.4, 0.3, -0.05],
        "p_value": [1.0, 0.9, 0.5, 0.2],
        "stopped_at": None,
        "consistent": False,
    }
    page = Page("abtest", "Test")
    add_sequence(page, found)
    text = page.render("..")
    assert "or users are not alike" in text
    assert "Lift of watch time per session at every look" in text
