"""Row rules into quarantine, dataset rules that stop the line.

    PYTHONPATH=src python -m watchline.stages.validate --tables data/ingest --out data/validate \
        --quarantine data/quarantine --report reports/validate
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
from pathlib import Path
from typing import Any

import polars as pl

from watchline import expectations
from watchline.config import load_section
from watchline.data.rules import MEANINGS
from watchline.data.screening import (
    Screening,
    Source,
    columns_on_disk,
    count_rows,
    days_of_window,
    quarantine_shares,
    screen_tables,
)
from watchline.data.splits import Window
from watchline.data.tables import write_parquet
from watchline.expectations import Result, ValidateConfig, as_text
from watchline.report import Callout, Figure, Page, Table, Text, Verdict, write_json
from watchline.report.charts import line_chart
from watchline.stages import log, run_stage

NUM_EXAMPLES = 3
EXAMPLE_COLUMNS = [
    "user_id",
    "video_id",
    "exposed_at",
    "date",
    "watch_time_s",
    "duration_s",
    "file",
    "line",
    "text",
    "reason",
]


class DatasetRuleError(ValueError):
    """A dataset rule failed or could not be evaluated; the message says what was observed and what to do."""


def main(argv: list[str] | None = None) -> None:
    """Tables of ingest to clean tables, quarantine and report; raises DatasetRuleError once all of it is written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("tables", "out", "quarantine", "report"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    paths = parser.parse_args(argv)
    config: ValidateConfig = load_section(ValidateConfig, "validate")
    window: Window = load_section(Window, "window")
    source = Source.read(paths.tables / "source.json")
    _clear(paths.out, paths.quarantine)

    columns = columns_on_disk(paths.tables)
    results = check_schema(columns)
    screening = None
    if not expectations.failures(results):
        budget = config.tables.row_budget
        screening = screen_tables(paths.tables, paths.out, config.rows, window, source, budget, log)
        write_quarantine(screening, paths.quarantine)
        assert_nothing_lost(screening, paths.tables, paths.out, paths.quarantine)
        shutil.copyfile(paths.tables / "source.json", paths.out / "source.json")
        log(_broken_rules(screening))
        results += check_tables(config, window, source, screening)
    _conclude(paths, config, window, results, screening)


def check_schema(columns: pl.DataFrame) -> list[Result]:
    """Schema suite of each table; `columns` is that of `columns_on_disk`."""
    results = []
    for (table,), part in columns.group_by("table", maintain_order=True):
        results += expectations.evaluate(
            str(table), expectations.schema_suite(), part, ["file", "column", "expected", "observed"]
        )
    return results


def check_tables(config: ValidateConfig, window: Window, source: Source, screening: Screening) -> list[Result]:
    """Every other suite, on what the row rules left and on what they took."""
    filled = {table: sorted(columns) for table, columns in source.filled.items()}
    shares = quarantine_shares(screening)
    evaluate = expectations.evaluate
    return [
        *evaluate(
            "exposures",
            expectations.exposures_suite(config, filled.get("exposures", [])),
            screening.sample,
            ["user_id", "video_id", "exposed_at", "date"],
        ),
        *evaluate(
            "users", expectations.users_suite(config, filled.get("users", [])), screening.clean["users"], ["user_id"]
        ),
        *evaluate(
            "videos",
            expectations.videos_suite(config, filled.get("videos", [])),
            screening.clean["videos"],
            ["video_id"],
        ),
        *evaluate("days", expectations.days_suite(config), days_of_window(screening.days, window), ["date", "rows"]),
        *[
            _with_quarantined_rows(result, screening)
            for result in evaluate("quarantine", expectations.quarantine_suite(config, shares), pl.DataFrame([shares]))
        ],
    ]


def write_quarantine(screening: Screening, directory: Path) -> None:
    """One file a table, made even when it has no rows."""
    for table, rows in screening.quarantined.items():
        write_parquet(rows, directory / f"{table}.parquet")


def assert_nothing_lost(screening: Screening, tables: Path, out: Path, quarantine: Path) -> None:
    """Count what lies on disk: rows of ingest == clean rows + quarantined rows, table by table; else AssertionError."""
    for table in screening.num_rows:
        num_in, num_clean, num_out = (count_rows(directory, table) for directory in (tables, out, quarantine))
        if num_in != num_clean + num_out or num_in != screening.num_rows[table]:
            raise AssertionError(f"{table}: {num_in} rows in, {num_clean} clean and {num_out} quarantined on disk")


def _conclude(
    paths: argparse.Namespace,
    config: ValidateConfig,
    window: Window,
    results: list[Result],
    screening: Screening | None,
) -> None:
    """Write JSON and page first; then, if a rule failed, remove the tables it speaks against and raise."""
    failed = expectations.failures(results)
    verdict = _verdict(results)
    write_json(paths.report / "metrics.json", summary(verdict, window, results, screening))
    build_page(verdict, config, results, screening).write(paths.report / "index.html")
    if failed:
        _clear(paths.out)
        raise DatasetRuleError(_failure_message(failed, paths.report))


def summary(verdict: Verdict, window: Window, results: list[Result], screening: Screening | None) -> dict[str, Any]:
    """What metrics.json holds. Lists carry the details, because DVC takes every number in a mapping for a metric."""
    status = [result.status for result in results]
    values: dict[str, Any] = {
        "verdict": {"status": verdict.status, "text": verdict.text},
        "window": {"start": window.start.isoformat(), "end": window.end.isoformat()},
        "expectations": {
            "passed": status.count("pass"),
            "failed": status.count("fail"),
            "errors": status.count("error"),
        },
        "failed": [f"{result.suite}: {result.name}" for result in expectations.failures(results)],
        "results": [dataclasses.asdict(result) for result in results],
    }
    if screening is not None:
        values |= {
            "rows": {table: _row_counts(screening, table) for table in screening.num_rows},
            "quarantine": screening.counts,
            "quarantine_share": {k: v for k, v in quarantine_shares(screening).items() if k.endswith(".all")},
            "days": screening.days.to_dicts(),
            "sampled_one_in": screening.sampled_one_in,
        }
    return values


def build_page(verdict: Verdict, config: ValidateConfig, results: list[Result], screening: Screening | None) -> Page:
    """The offline page: verdict, what failed with rows, counts by day, quarantine by rule, every observed value."""
    page = Page("validate", "Validation", _lead(screening), verdict)
    if screening is not None:
        counts = _row_counts(screening, "exposures")
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
        _quarantine_section(page, screening, config)
    else:
        page.section("Rows", Text("Row rules did not run: the tables do not have the canonical columns."))
    _expectations_section(page, results, screening)
    return page


def _row_counts(screening: Screening, table: str) -> dict[str, int]:
    num_rows, num_out = screening.num_rows[table], len(screening.quarantined[table])
    return {"in": num_rows, "clean": num_rows - num_out, "quarantined": num_out}


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
    if rules:
        figures.append(chart("In quarantine", "rows", {rule: rule for rule in rules}))
    facts = ["date", "rows", "clean", "quarantined", "num_users", "num_videos", "mean_watch_s", "zero_play_share"]
    heads = ["day", "rows", "clean", "quarantined", "users", "videos", "mean watch s", "zero plays"]
    formats = {"mean watch s": ".2f", "zero plays": ".1%"}
    tables = [Table(heads, days.select(facts).rows(), formats=formats)]
    if rules:
        tables.append(Table(["day", *rules], days.select("date", *rules).rows(), caption="In quarantine, by rule"))
    page.section("Counts by day", *figures, *tables, note="Users, videos and watch time are those of clean rows.")


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
            blocks.append(_rows_table(_quarantined_rows(screening, table, rule), f"{table}: {rule}, first rows"))
    note = "A row that breaks several rules counts for each of them. The rows lie in data/quarantine, a file per table."
    page.section("Quarantine by rule", *blocks, note=note)


def _expectations_section(page: Page, results: list[Result], screening: Screening | None) -> None:
    badges = {"pass": Verdict("pass"), "fail": Verdict("fail"), "error": Verdict("warn", "not evaluated")}
    rows = [[r.suite, r.name, badges[r.status], r.observed, r.expected] for r in results]
    note = "Not evaluated: the expectation could not be computed, so nothing is known about what it checks."
    if screening is not None and screening.sampled_one_in > 1:
        note += f" Exposures: those of one user in {screening.sampled_one_in}; days and quarantine count every row."
    page.section("Expectations", Table(["table", "expectation", "outcome", "observed", "expected"], rows), note=note)


def _rows_table(rows: list[dict[str, Any]], caption: str) -> Table:
    columns = list(rows[0])
    return Table(columns, [[row.get(column, "") for column in columns] for row in rows], caption=caption)


def _quarantined_rows(screening: Screening, table: str, rule: str) -> list[dict[str, Any]]:
    """First rows of quarantine that break `rule` (any rule for `all`), as text."""
    rows = screening.quarantined[table]
    if rule != "all":
        rows = rows.filter(pl.col("rules").str.split(",").list.contains(rule))
    shown = [name for name in EXAMPLE_COLUMNS if name in rows.columns]
    return [
        {name: "null" if value is None else as_text(value) for name, value in row.items()}
        for row in rows.head(NUM_EXAMPLES).select(*shown, "rules").to_dicts()
    ]


def _with_quarantined_rows(result: Result, screening: Screening) -> Result:
    if result.status == "pass":
        return result
    table, rule = result.name.split(".")
    return dataclasses.replace(result, examples=_quarantined_rows(screening, table, rule))


def _verdict(results: list[Result]) -> Verdict:
    failed = [result for result in results if result.status == "fail"]
    errors = [result for result in results if result.status == "error"]
    if not failed and not errors:
        return Verdict("pass", f"all {len(results)} expectations hold")
    parts = [f"{len(failed)} of {len(results)} expectations failed"] if failed else []
    parts += [f"{len(errors)} could not be evaluated"] if errors else []
    return Verdict("fail", ", ".join(parts))


def _failure_message(failed: list[Result], report: Path) -> str:
    lines = [f"{len(failed)} dataset rules do not hold (the page: {report / 'index.html'})"]
    for result in failed:
        kind = "failed" if result.status == "fail" else "could not be evaluated"
        example = f" (for example {_one_line(result.examples[0])})" if result.examples else ""
        lines.append(f"  {result.suite}: {result.name}: {kind}; observed {result.observed}{example}")
        lines.append(f"    expected {result.expected}; {result.advice}")
    return "\n".join(lines)


def _one_line(row: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in row.items())


def _broken_rules(screening: Screening) -> str:
    counts = [f"{t}.{rule} {n:,}" for t, by_rule in screening.counts.items() for rule, n in by_rule.items() if n]
    return f"quarantine: {', '.join(counts) or 'no row'}"


def _clear(*directories: Path) -> None:
    for directory in directories:
        if directory.exists():
            shutil.rmtree(directory)
        directory.mkdir(parents=True)


if __name__ == "__main__":
    run_stage(main)
