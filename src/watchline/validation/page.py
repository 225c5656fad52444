"""The offline page of validate: verdict, what failed with rows, trends by day, quarantine, every observed value."""

from __future__ import annotations

from typing import Any

import polars as pl

from watchline import expectations
from watchline.data.references import days_of_window
from watchline.data.rules import MEANINGS
from watchline.data.screening import Screening, quarantine_shares
from watchline.data.splits import Window
from watchline.expectations import Result, ValidateConfig
from watchline.report import Callout, Figure, Page, Table, Text, Verdict
from watchline.report.charts import line_chart
from watchline.validation.checks import first_quarantined


def build_page(
    verdict: Verdict, config: ValidateConfig, window: Window, results: list[Result], screening: Screening | None
) -> Page:
    """The offline page: verdict, what failed with rows, counts by day, quarantine by rule, every observed value."""
    page = Page("validate", "Validation", _lead(screening), verdict)
    if screening is not None:
        counts = row_counts(screening, "exposures")
        page.key_figures(
            {
                "exposures": counts["in"],
                "clean": counts["clean"],
                "in quarantine": counts["quarantined"],
                "unparsable lines": screening.num_rows["unparsable"],
                "users": screening.num_rows["users"],
                "videos": screening.num_rows["videos"],
            }
        )
    for result in expectations.failures(results):
        _failure_section(page, result)
    if screening is not None:
        _days_section(page, screening)
        _reference_section(page, config, days_of_window(screening, window, config.days.reference_days))
        _quarantine_section(page, screening, config)
    else:
        page.section("Rows", Text("Row rules did not run: the tables do not have the canonical columns."))
    _expectations_section(page, results, screening)
    return page


def _lead(screening: Screening | None) -> str:
    if screening is None:
        return "The tables of ingest against their schema."
    return "Row rules put broken rows into quarantine, none is lost; dataset rules decide whether the line goes on."


def _failure_section(page: Page, result: Result) -> None:
    status, kind = ("fail", "failed") if result.status == "fail" else ("warn", "could not be evaluated")
    words = f"Observed: {result.observed}. Expected: {result.expected}. What to do: {result.advice}."
    blocks: list[Any] = [Callout(status, words)]
    if result.examples:
        blocks.append(_rows_table(result.examples, "Example rows"))
    page.section(f"{result.suite}: {result.name} {kind}", *blocks)


def _days_section(page: Page, screening: Screening) -> None:
    days = screening.days
    labels = [day.isoformat() for day in days["date"]]
    rules = {rule: count for rule, count in screening.counts["exposures"].items() if count}

    def chart(title: str, unit: str, columns: dict[str, str]) -> Figure:
        series = {name: (labels, days[column].to_list()) for name, column in columns.items()}
        return line_chart(series, "local day", unit, title)

    figures = [
        chart("Exposures", "rows", {name: name for name in ("rows", "clean", "quarantined")}),
        chart("Users and videos seen", "distinct ids", {"users": "num_users", "videos": "num_videos"}),
    ]
    if days["mean_watch_s"].count():
        figures.append(chart("Mean watch time", "s", {"watch time": "mean_watch_s"}))
        figures.append(chart("Plays of 0 s", "share", {"plays of 0 s": "zero_play_share"}))
    if rules:
        figures.append(chart("In quarantine", "rows", {rule: rule for rule in rules}))
    facts = ["date", "rows", "clean", "quarantined", "num_users", "num_videos", "mean_watch_s", "zero_play_share"]
    heads = ["day", "rows", "clean", "quarantined", "users", "videos", "mean watch s", "zero plays"]
    formats = {"mean watch s": ".2f", "zero plays": ".1%"}
    tables = [Table(heads, days.select(facts).rows(), formats=formats)]
    if rules:
        tables.append(Table(["day", *rules], days.select("date", *rules).rows(), caption="In quarantine, by rule"))
    page.section("Counts by day", *figures, *tables, note="Users, videos and watch time are those of clean rows.")


def _reference_section(page: Page, config: ValidateConfig, days: pl.DataFrame) -> None:
    limits = config.days
    names = ["date", "rows", "volume_ratio", "watch_ratio", "watch_distance"]
    heads = ["day", "clean rows", "rows to reference", "mean watch to reference", "distance of watch time"]
    formats = {"rows to reference": ".2f", "mean watch to reference": ".2f", "distance of watch time": ".3f"}
    note = (
        f"A day's reference is the {limits.reference_days} days before it; where there are fewer, the next after it. "
        f"Allowed: rows within a factor of {limits.volume_factor:g} of the median day, mean watch time within "
        f"{limits.watch_factor:g}, distance of the cumulative shares of watch time up to {limits.max_watch_distance:g}."
    )
    page.section("Days against their reference", Table(heads, days.select(names).rows(), formats=formats), note=note)


def _quarantine_section(page: Page, screening: Screening, config: ValidateConfig) -> None:
    shares, limits = quarantine_shares(screening), config.quarantine.max_share_of_rule
    found = [(table, rule, count) for table, counts in screening.counts.items() for rule, count in counts.items()]
    rows = [
        [table, rule, count, shares[f"{table}.{rule}"], limits.get(rule, config.quarantine.max_share), MEANINGS[rule]]
        for table, rule, count in found
    ]
    columns = ["table", "rule", "rows", "share", "allowed", "a row that breaks it"]
    blocks: list[Any] = [Table(columns, rows, formats={"share": ".3%", "allowed": ".1%"})]
    for table, rule, count in found:
        if count:
            blocks.append(_rows_table(first_quarantined(screening, table, rule), f"{table}: {rule}, first rows"))
    note = "A row that breaks several rules counts for each of them. The rows lie in data/quarantine, a file per table."
    page.section("Quarantine by rule", *blocks, note=note)


def _expectations_section(page: Page, results: list[Result], screening: Screening | None) -> None:
    badges = {"pass": Verdict("pass"), "fail": Verdict("fail"), "error": Verdict("warn", "not evaluated")}
    rows = [[r.suite, r.name, badges[r.status], r.observed, r.expected] for r in results]
    note = "Not evaluated: the expectation could not be computed, so nothing is known about what it checks."
    if screening is not None:
        one_in = max(day.sampled_one_in for day in screening.screened_days)
        note += " Exposures are evaluated day by day and must hold on each"
        note += f", on large days for one user in up to {one_in}" if one_in > 1 else ""
        note += "; days and quarantine count every row."
    page.section("Expectations", Table(["table", "expectation", "outcome", "observed", "expected"], rows), note=note)


def _rows_table(rows: list[dict[str, Any]], caption: str) -> Table:
    columns = list(rows[0])
    return Table(columns, [[row.get(column, "") for column in columns] for row in rows], caption=caption)


def row_counts(screening: Screening, table: str) -> dict[str, int]:
    num_rows, num_out = screening.num_rows[table], screening.num_quarantined[table]
    return {"in": num_rows, "clean": num_rows - num_out, "quarantined": num_out}
