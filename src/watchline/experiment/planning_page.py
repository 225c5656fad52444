"""Sections of the page on what the test could find and on its looks, from the content of its metrics.json."""

from __future__ import annotations

from typing import Any

from watchline.report import charts
from watchline.report.blocks import Facts, Figure, Text
from watchline.report.page import Page

SEQUENCE_NOTE = (
    "Users in order of their first session, each with all they watched. Bounds by the mixture sequential probability "
    "ratio test (mSPRT): at every look at once the difference is within them with 95 %, so the test may be stopped "
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
        "lift found with 80 % power": planned["detectable_lift"],
        "users needed for the smallest lift, both arms": needed["treatment"] + needed["control"],
    }
    formats = dict.fromkeys(list(facts)[:3], ".1%")
    note = (
        "From the watch time of the same users before the test, without CUPED, as if the test took in as much of it as "
        "the days before did (docs/ab_statistics.md)."
    )
    page.section("Before the run", Facts(facts, formats), note=note)


def add_sequence(page: Page, found: dict[str, Any] | None) -> None:
    """The difference after every look, with bounds that hold at all of them."""
    if found is None:
        return
    stopped, looks = found["stopped_at_users"], len(found["users"])
    words = (
        f"Looked at {looks} times, the test would have ended after {stopped:,} of {found['users'][-1]:,} users."
        if stopped
        else f"Looked at {looks} times, the test would not have ended early: p {found['p_value'][-1]:.3f} at the last."
    )
    if not found["consistent"]:
        words += " Bounds of two looks do not meet: users who came later differ from those who came first."
    page.section("If it had been looked at on the way", Text(words), *_bounds(found), note=SEQUENCE_NOTE)


def _bounds(found: dict[str, Any]) -> list[Figure]:
    known = _readable(found)
    if not known:
        return []
    users = [found["users"][i] for i in known]
    lines = {
        "difference": (users, [found["value"][i] for i in known]),
        "lower bound": (users, [found["low"][i] for i in known]),
        "upper bound": (users, [found["high"][i] for i in known]),
        "no difference": (users, [0.0] * len(users)),
    }
    return [charts.line_chart(lines, "users seen", "s per user", "Watch time per user, treatment minus control")]


def _readable(found: dict[str, Any], times: float = 6.0) -> list[int]:
    """Looks whose bounds are known and at most `times` as wide as the last ones: wider ones would hide the rest."""
    widths = {
        i: high - low
        for i, (low, high) in enumerate(zip(found["low"], found["high"], strict=True))
        if low is not None and high is not None
    }
    return [i for i, width in widths.items() if width <= times * widths[max(widths)]]
