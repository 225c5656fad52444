"""Sections of the page on what the test could find and on its looks, from the content of its metrics.json."""

from __future__ import annotations

from typing import Any

from watchline.report import charts
from watchline.report.blocks import Facts, Figure, Text
from watchline.report.page import Page

SEQUENCE_NOTE = (
    "Watch time per session, treatment over control, of all sessions up to the look. Bounds by the mixture sequential "
    "probability ratio test (mSPRT): with 95 % the lift is within them at every look at once, so the test may stop "
    "when 0 leaves them. That freedom makes them wider than the interval of a test that is read once, at its end."
)


def add_outlook(page: Page, planned: dict[str, Any] | None) -> None:
    """Before the run: power for the smallest lift that matters, from the users' watch time before it."""
    if planned is None:
        return
    needed = planned["users_needed"]
    facts = {
        "smallest lift that matters": planned["smallest_lift"],
        "chance to find it (power)": planned["power"],
        "smallest lift found with 80 % power, by the days before": planned["detectable_lift"],
        "users needed for the smallest lift, both arms": needed["treatment"] + needed["control"],
    }
    formats = dict.fromkeys(list(facts)[:3], ".1%")
    note = (
        "From the watch time of the same users before the test, without CUPED, as if the test took in as much of it as "
        "the days before did (docs/ab_statistics.md)."
    )
    page.section("Before the run", Facts(facts, formats), note=note)


def add_sequence(page: Page, found: dict[str, Any] | None) -> None:
    """The lift after every look, with bounds that hold at all of them: could one have stopped early?"""
    if found is None:
        return
    stop, looks, last = found["stopped_at"], len(found["sessions"]), found["sessions"][-1]
    if stop and stop["sessions"] < last:
        words = f"it could have been stopped on {stop['day']}, after {stop['sessions']:,} of {last:,} sessions."
    else:
        words = f"it could not have been stopped early: p {found['p_value'][-1]:.3f} after all {last:,} sessions."
    words = f"With {looks} looks at the test on its way, {words}"
    if not found["consistent"]:
        words += " Intervals of two looks do not meet: the effect changed during the test, or users are not alike."
    page.section("Could it have been stopped early?", Text(words), *_bounds(found), note=SEQUENCE_NOTE)


def _bounds(found: dict[str, Any]) -> list[Figure]:
    known = _readable(found)
    if not known:
        return []
    sessions = [found["sessions"][i] for i in known]
    lines = {
        name: (sessions, [100 * found[key][i] for i in known])
        for name, key in (("lift", "lift"), ("lower bound", "low"), ("upper bound", "high"))
    }
    lines["no lift"] = (sessions, [0.0] * len(sessions))
    return [charts.line_chart(lines, "sessions so far", "lift, %", "Lift of watch time per session at every look")]


def _readable(found: dict[str, Any], times: float = 6.0) -> list[int]:
    """Looks whose bounds are known and at most `times` as wide as the last that do not cross: wider hide the rest."""
    widths = {
        i: high - low
        for i, (low, high) in enumerate(zip(found["low"], found["high"], strict=True))
        if low is not None and high is not None
    }
    positive = [width for width in widths.values() if width > 0]
    return [i for i, width in widths.items() if positive and width <= times * positive[-1]]
