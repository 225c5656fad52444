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
from watchline.data.day_cache import DayCache, code_digest
from watchline.data.schema import EXPOSURES
from watchline.data.screening import (
    Screening,
    Source,
    columns_on_disk,
    count_rows,
    quarantine_shares,
    screen_tables,
)
from watchline.data.splits import Window
from watchline.data.tables import write_parquet, write_parquet_parts
from watchline.expectations import Result, ValidateConfig
from watchline.report import Verdict, write_json
from watchline.stages import log, run_stage
from watchline.validation.checks import check_schema, check_tables
from watchline.validation.page import build_page, row_counts

CACHE = Path("runs/cache/validate")
CODE = ("data/rules.py", "data/schema.py", "data/screening.py", "data/tables.py", "expectations.py")


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
    cache = DayCache(CACHE, code_digest(*CODE))

    columns = columns_on_disk(paths.tables)
    results = check_schema(columns)
    screening = None
    if not expectations.failures(results):
        budget = config.tables.row_budget
        screening = screen_tables(paths.tables, paths.out, config.rows, window, source, budget, log, cache)
        write_quarantine(screening, paths.quarantine)
        assert_nothing_lost(screening, paths.tables, paths.out, paths.quarantine)
        shutil.copyfile(paths.tables / "source.json", paths.out / "source.json")
        log(_broken_rules(screening))
        results += check_tables(config, window, source, screening)
        cache.close()
    _conclude(paths, config, window, results, screening)


def write_quarantine(screening: Screening, directory: Path) -> None:
    """One file a table, made even when it has no rows."""
    for table in ("users", "videos", "unparsable"):
        write_parquet(screening.quarantined[table], directory / f"{table}.parquet")
    columns = {**EXPOSURES, "rule": pl.String, "rules": pl.String}
    rows = screening.quarantined_rows("exposures")
    write_parquet_parts(rows, pl.DataFrame(schema=columns), directory / "exposures.parquet")


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
    build_page(verdict, config, window, results, screening).write(paths.report / "index.html")
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
            "rows": {table: row_counts(screening, table) for table in screening.num_rows},
            "quarantine": screening.counts,
            "quarantine_share": {k: v for k, v in quarantine_shares(screening).items() if k.endswith(".all")},
            "days": screening.days.to_dicts(),
            "sampled_one_in": max(day.sampled_one_in for day in screening.screened_days),
        }
    return values


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
