"""Sections of the page on what was found: the lift by every estimator, and all else that was compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from watchline.report import charts
from watchline.report.blocks import Figure, Table, Text, Verdict
from watchline.report.page import Page

LIFT_NOTE = (
    "Treatment over control, minus 1; the verdict is of the first row. The bootstrap takes no normal distribution for "
    "granted: where its interval is far from the first one, users are too few or too skewed for Welch. A true lift is "
    "that of the expected watch time of all users' sessions; its interval is of the simulation that computes it."
)

BOTH_NOTE = (
    "Both policies for every user is what only a simulation can do. How much a user watches anyhow is in both sums and "
    "cancels, so its interval is narrower than that of any test; whether the environment is right it does not know. "
    "The promotion gate reads this row."
)

QUANTITIES_NOTE = (
    "Of quantities that were not chosen before the test and have not changed, one in twenty differs by chance. The "
    "q-value is the p-value corrected for all quantities of this table and the next (Benjamini-Hochberg): of those "
    "below 0.05, at most one in twenty is wrong on average."
)

GUARDRAIL_NOTE = (
    "A guardrail passes when even the worst end of its interval is a smaller loss than the accepted one, and is harmed "
    "when it does not and all of the interval is a loss; a loss is a rise where lower is better. Verdicts are not "
    "corrected: a harm with a q-value of 0.05 or more may be chance."
)

QUANTITIES = {
    "watch_per_exposure": "watch time per exposure, s",
    "exposures_per_session": "exposures per session",
    "skips_per_exposure": "skips (under 1 s) per exposure",
    "completions_per_exposure": "completions (to the end) per exposure",
}

OUTCOME = {"pass": "pass", "harmed": "fail", "cannot tell": "info"}
LIFT = {"lift": "+.2%", "low": "+.2%", "high": "+.2%"}


def add_lifts(page: Page, result: dict[str, Any]) -> None:
    """The lift of watch time by every estimator, as a table and a chart, with the truth where it is known."""
    columns = ["estimator", *LIFT, "width", "p-value"]
    rows, marks = [], []
    for title, mark, found in _estimators(result):
        ends = [found["interval"][end] for end in ("low", "high")]
        is_known = None not in (found["lift"], *ends)
        rows.append([title, found["lift"], *ends, ends[1] - ends[0] if is_known else None, found["p_value"]])
        if is_known:
            marks.append((mark, *(100 * value for value in (found["lift"], *ends))))
    table = Table(columns, rows, formats=LIFT | {"width": ".2%", "p-value": ".4f"})
    page.section("Lift of watch time", table, *_chart(marks), Text(BOTH_NOTE), note=LIFT_NOTE)


def _estimators(result: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Title, short title, and estimate."""
    drawn = result["bootstrap"]
    yield "per user: Welch and Fieller (the verdict)", "per user", result
    yield "per user with CUPED", "CUPED", result["cuped"]
    yield "per user: bootstrap of users (BCa)", "bootstrap", drawn["watch_per_user"]
    yield "per exposure: delta method", "per exposure", result["metrics"]["watch_per_exposure"]
    yield "per exposure: bootstrap of users (BCa)", "per exposure, bootstrap", drawn["watch_per_exposure"]
    yield "both policies for every user, paired", "both policies", result["both_arms"]
    if "true_lift" in result:
        reach = 1.96 * (result["true_lift_error"] or 0.0)
        interval = {"low": result["true_lift"] - reach, "high": result["true_lift"] + reach}
        yield "true lift", "true lift", {"lift": result["true_lift"], "interval": interval, "p_value": None}


def _chart(marks: list[tuple[Any, ...]]) -> list[Figure]:
    if not marks:
        return []
    names, values, lows, highs = zip(*marks, strict=True)
    title = "Lift of watch time, with 95 % interval"
    return [charts.interval_chart(names, values, lows, highs, x_label="lift over control, %", title=title)]


def add_quantities(page: Page, result: dict[str, Any]) -> None:
    """What else was compared, with q-values, and what the treatment must not harm."""
    formats = LIFT | {"control": ".3f", "treatment": ".3f", "q-value": ".4f"}
    columns = ["control", "treatment", *LIFT]
    metrics, q_values = result["metrics"], result["q_values"]
    rows: list[list[Any]] = [
        # The p-value of the difference: a lift over a control of 0 has none.
        [title, *_values(metrics[name]), metrics[name]["difference"]["p_value"], q_values[name]]
        for name, title in QUANTITIES.items()
    ]
    table = Table(["quantity", *columns, "p-value", "q-value"], rows, formats=formats | {"p-value": ".4f"})
    page.section("What else changed", table, note=QUANTITIES_NOTE)
    if not result["guardrails"]:
        return
    rows = [
        [
            f"{name.replace('_', ' ')} ({rail['better']} is better)",
            Verdict(OUTCOME[rail["verdict"]], rail["verdict"]),
            rail["margin"],
            *_values(rail),
            q_values[name],
        ]
        for name, rail in result["guardrails"].items()
    ]
    columns = ["guardrail", "verdict", "accepted loss", *columns, "q-value"]
    table = Table(columns, rows, formats=formats | {"accepted loss": ".0%"})
    reasons = [
        Text(f"Of the {name.replace('_', ' ')} nothing can be told: {rail['reason']}.")
        for name, rail in result["guardrails"].items()
        if "reason" in rail
    ]
    page.section("Guardrails", table, *reasons, note=GUARDRAIL_NOTE)


def _values(found: dict[str, Any]) -> list[Any]:
    ends = [found["interval"][end] for end in ("low", "high")]
    return [found["control"], found["treatment"], found["lift"], *ends]
