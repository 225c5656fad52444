"""Every suite of dataset rules on what the row rules left and took; an unchanged day is evaluated once."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import polars as pl

from watchline import expectations
from watchline.data.day_cache import DayCache
from watchline.data.references import days_of_window
from watchline.data.screening import Screening, Source, quarantine_shares
from watchline.data.splits import Window
from watchline.expectations import Check, Outcome, Result, ValidateConfig, as_text

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
    shares = quarantine_shares(screening)
    days = days_of_window(screening, window, config.days.reference_days)
    in_quarantine = expectations.evaluate(
        "quarantine", expectations.quarantine_suite(config, shares), pl.DataFrame([shares])
    )
    return [
        *check_exposures(config, source, screening),
        *check_profiles("users", expectations.users_suite(config, _filled(source, "users")), "user_id", screening),
        *check_profiles("videos", expectations.videos_suite(config, _filled(source, "videos")), "video_id", screening),
        *expectations.evaluate("days", expectations.days_suite(config), days, ["date", "rows"]),
        *[_with_quarantined_rows(result, screening) for result in in_quarantine],
    ]


def check_exposures(config: ValidateConfig, source: Source, screening: Screening) -> list[Result]:
    """The suite of exposures, on the sample of each day that has clean rows; a day is evaluated once."""
    checks = expectations.exposures_suite(config, _filled(source, "exposures"))
    days = [day for day in screening.screened_days if day.facts["clean"]]
    # Where no day has a row, an empty table lets the suite say so.
    parts = {day.day.isoformat(): day for day in days} or {"": screening.screened_days[0]}
    index = ["user_id", "video_id", "exposed_at", "date"]
    found = {
        name: _measure_once(screening.cache, "exposures", checks, day.sample_key, day.sample, index)
        for name, day in parts.items()
    }
    return expectations.combine("exposures", checks, found)


def check_profiles(table: str, checks: list[Check], key: str, screening: Screening) -> list[Result]:
    """The suite of users or videos, evaluated once for a table."""
    rows = screening.clean[table]
    buffer = io.BytesIO()
    rows.write_ipc(buffer)
    digest = blake2b(buffer.getbuffer(), digest_size=16).hexdigest()
    outcomes = _measure_once(screening.cache, table, checks, digest, lambda: rows, [key])
    return expectations.combine(table, checks, {"": outcomes})


def _filled(source: Source, table: str) -> list[str]:
    return sorted(source.filled.get(table, []))


def _measure_once(
    cache: DayCache,
    suite: str,
    checks: Sequence[Check],
    table_key: str,
    table: Callable[[], pl.DataFrame],
    index: Sequence[str],
) -> list[Outcome]:
    """Outcomes for one part of a table, from the cache if the same checks were evaluated on the same rows before."""

    def make(folder: Path) -> None:
        outcomes = expectations.measure(suite, checks, table(), index)
        (folder / "outcomes.json").write_text(json.dumps([dataclasses.asdict(outcome) for outcome in outcomes]))

    inputs = {"suite": suite, "checks": expectations.suite_key(checks), "table": table_key, "index": index}
    values = json.loads((cache.entry(inputs, make) / "outcomes.json").read_text())
    return [Outcome(**value) for value in values]


def _with_quarantined_rows(result: Result, screening: Screening) -> Result:
    if result.status == "pass":
        return result
    table, rule = result.name.split(".")
    return dataclasses.replace(result, examples=first_quarantined(screening, table, rule))


def first_quarantined(screening: Screening, table: str, rule: str) -> list[dict[str, Any]]:
    """First rows of quarantine that break `rule` (any rule for `all`), as text."""
    found: list[dict[str, Any]] = []
    for rows in screening.quarantined_rows(table):
        if rule != "all":
            rows = rows.filter(pl.col("rules").str.split(",").list.contains(rule))
        shown = [name for name in EXAMPLE_COLUMNS if name in rows.columns]
        found += rows.head(NUM_EXAMPLES - len(found)).select(*shown, "rules").to_dicts()
        if len(found) == NUM_EXAMPLES:
            break
    return [{name: "null" if v is None else as_text(v) for name, v in row.items()} for row in found]
