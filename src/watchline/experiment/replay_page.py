"""The page of a test on the random log, from the content of its metrics.json and nothing else."""

from __future__ import annotations

from typing import Any

from watchline.report import charts
from watchline.report.blocks import Callout, Table, Text, Verdict
from watchline.report.page import Page

METHODS = {
    "replay": "replay: mean of the rows that the policy would have shown too",
    "ips": "IPS: mean of weight times watch time",
    "snips": "SNIPS: IPS over the mean weight",
    "dr": "DR: reward model, corrected by weighted residuals (primary)",
}

ENVIRONMENT = (
    "The random log: nothing is simulated. {rows:,} exposures of the eval days showed a video drawn uniformly from a "
    "pool ({pool:,} videos); each becomes a question of {candidates} candidates, the shown video among others of the "
    "pool, where any of them was as likely to be shown. A policy's value is the watch time of its first choice. "
    "Sessions, later videos and what users would do next are not in it."
)


def build_replay_page(result: dict[str, Any]) -> Page:
    """The page of one comparison; `result` is what `summarise_replay` gives, with the stage's `asked` and `window`."""
    window, log = result["window"], result["log"]
    arms = {arm: f"{arm}: {of['model']} ({of['statistic'].replace('_', ' ')})" for arm, of in result["arms"].items()}
    lead = f"{' against '.join([arms['treatment'], arms['control']])}: {log['rows']:,} random exposures of "
    lead += f"{window['eval_first']} to {window['eval_last']}."
    page = Page("abtest", "Policies on the random log", lead, Verdict(**result["verdict"]))
    key = {"lift of the first video's watch time": result["lift"], "p-value": result["p_value"]}
    page.key_figures(key, dict(zip(key, ("+.2%", ".3f"), strict=True)))
    text = ENVIRONMENT.format(**log, candidates=result["asked"]["candidates"])
    page.section("Environment", Callout("warn", text))
    _add_lifts(page, result)
    _add_values(page, result, arms)
    page.section("How it was estimated", Text("\n\n".join(f"{line}." for line in METHODS.values())))
    return page


def _add_lifts(page: Page, result: dict[str, Any]) -> None:
    rows, marks = [], []
    for arm, methods in result["comparisons"].items():
        for method, found in methods.items():
            span = [found["interval"][end] for end in ("low", "high")]
            rows.append([arm, method, found["lift"], *span, found["p_value"], found.get("p_corrected")])
            if None not in span:
                marks.append((f"{arm}, {method}", *(100 * value for value in (found["lift"], *span))))
    columns = ["arm", "method", "lift", "low", "high", "p-value", "p-value, corrected"]
    if "p_corrected" not in result["comparisons"]["treatment"]["dr"]:  # one treatment: nothing to correct for
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    formats = {**dict.fromkeys(columns[2:5], "+.2%"), **dict.fromkeys(columns[5:], ".4f")}
    blocks: list[Any] = [Table(columns, rows, formats=formats)]
    if marks:
        title = "Lift of the first video's watch time, with 95 % interval"
        values, lows, highs = ([mark[i] for mark in marks] for i in (1, 2, 3))
        names = [mark[0] for mark in marks]
        blocks.append(charts.interval_chart(names, values, lows, highs, x_label="lift, %", title=title))
    page.section("Lift over the control", *blocks, note="Both policies are valued on the same rows, by user.")


def _add_values(page: Page, result: dict[str, Any], arms: dict[str, str]) -> None:
    columns = ["arm", "method", "watch time s", "low", "high", "effective rows", "warnings"]
    rows = [
        [
            arms[arm],
            method,
            found["mean_s"],
            *(found["interval"][end] for end in ("low", "high")),
            found["effective_sample_size"],
            "; ".join(found["warnings"]) or "none",
        ]
        for arm, of_arm in result["arms"].items()
        for method, found in of_arm["estimates"].items()
    ]
    formats = {**dict.fromkeys(["watch time s", "low", "high"], ".3f"), "effective rows": ".0f"}
    note = f"The log itself, whose videos were drawn by chance: {result['log']['mean_s']:.3f} s."
    page.section("Value of each policy", Table(columns, rows, formats=formats), note=note)
