"""Raw logs of one source into the canonical tables, a file per local day.

PYTHONPATH=src python -m watchline.stages.ingest --raw PATH --out data/ingest --report reports/ingest

With --newest-day it writes nothing and prints the newest complete day of the source.
"""

from __future__ import annotations

import argparse
import inspect
import shutil
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from watchline.config import Config, ConfigError, load_section, parse
from watchline.data.complete_days import newest_complete_day
from watchline.data.day_cache import DayCache, code_digest
from watchline.data.day_changes import describe_changes, note_days
from watchline.data.schema import USERS, VIDEOS
from watchline.data.sources import cikm16, kuairand, kuairec, parquet
from watchline.data.sources.base import Read, SourceTables, conform
from watchline.data.sources.counting import EDGES_S, Counts, DaySummary, null_shares
from watchline.data.sources.writing import write_source
from watchline.data.splits import Window
from watchline.data.synthetic import source as synthetic
from watchline.data.synthetic.config import SyntheticConfig
from watchline.report import Callout, Facts, Page, Table, Text, Verdict, charts, write_json
from watchline.stages import log, run_stage

# name in ingest.source -> its config and its `read`; one line for each new source
INGEST_SOURCES: dict[str, tuple[type[Config], Read]] = {
    "kuairand": (kuairand.KuaiRandConfig, kuairand.read),
    "kuairec": (kuairec.KuaiRecConfig, kuairec.read),
    "cikm16": (cikm16.Cikm16Config, cikm16.read),
    "parquet": (parquet.ParquetConfig, parquet.read),
    "synthetic": (SyntheticConfig, synthetic.read),
}
NUM_EXAMPLES = 5
CACHE = Path("runs/cache/ingest")
MAX_LATE_SHARE = 0.5  # with more late rows a log is in another order than that of time


class WindowError(ValueError):
    """The window asks for days that the source does not have; the message gives the range it has."""


@dataclass
class Ingested:
    """What was written and what was left out, for the report."""

    source: str
    tables: SourceTables
    window: Window
    counts: Counts = field(default_factory=Counts)
    dropped: dict[date, int] = field(default_factory=dict)  # days after window.end -> rows not written

    @property
    def missing_days(self) -> list[date]:
        """Days of the window without an exposure."""
        return [day for day in self.window.days if day not in self.tables.days]

    @property
    def late(self) -> dict[date, int]:
        """Days written of which rows stand in their log where it had got hours past their end -> how many."""
        known = self.tables.known_days
        days = [date.fromisoformat(day["date"]) for day in self.counts.days]
        return {day: known[day].late_rows for day in days if day in known and known[day].late_rows}


def main(argv: list[str] | None = None) -> None:
    """Read the source that params.yaml names, write its tables and the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("raw", "out", "report"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--newest-day", action="store_true", help="print the source's newest complete day, no more")
    paths = parser.parse_args(argv)
    name, config = load_ingest()
    if paths.newest_day:
        cache = DayCache(CACHE, code_digest("data"))
        print(newest_complete_day(read_tables(name, config, paths.raw, cache)))
        return
    window: Window = load_section(Window, "window")
    cache = DayCache(CACHE, code_digest("data"))
    ingested = ingest(name, config, paths.raw, window, paths.out, cache)
    cache.close()
    write_json(paths.report / "metrics.json", summary(ingested))
    build_page(ingested).write(paths.report / "index.html")


def load_ingest(path: Path = Path("params.yaml")) -> tuple[str, Config]:
    """The source's name and its config; raises ConfigError listing the sources when the name is not one."""
    values: dict[str, Any] = load_section(dict[str, Any], "ingest", path)
    name = values.get("source")
    if name not in INGEST_SOURCES:
        raise ConfigError(f"{path}: ingest.source: unknown source {name!r}; there are {', '.join(INGEST_SOURCES)}")
    return name, parse(INGEST_SOURCES[name][0], values, f"{path}: ingest")


def ingest(name: str, config: Config, raw: Path, window: Window, out: Path, cache: DayCache | None = None) -> Ingested:
    """Write the canonical tables of a source into `out`, which holds the old ones until the new ones are whole.

    Days after window.end are counted, not written. What `cache` has of earlier runs is not done again.
    Raises WindowError when the window leaves the source's range.
    """
    restore(out)
    tables = read_tables(name, config, raw, cache)
    check_window(window, tables.days)
    ingested = Ingested(name, tables, window)
    for note in tables.notes:
        log(note)
    if ingested.missing_days:
        log(f"no exposures on {_list_days(ingested.missing_days)}, inside the window")
    if cache is not None:
        for line in describe_changes(cache.directory, f"{name} {raw}", tables.known_days):
            log(line)

    def observe(day: date, summary: DaySummary) -> None:
        ingested.counts.observe(day, summary)
        log(f"{day}: {summary.rows:,} exposures")

    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    write_source(tables, name, partial, [day for day in tables.days if day <= window.end], observe, cache)
    replace(partial, out)
    ingested.dropped = {day: _count_rows(tables, day) for day in tables.days if day > window.end}
    if cache is not None:
        note_days(cache.directory, f"{name} {raw}", tables.known_days)
    log(_closing_line(ingested))
    return ingested


def read_tables(name: str, config: Config, raw: Path, cache: DayCache | None) -> SourceTables:
    """What the source's `read` gives, which gets the cache if it takes one."""
    read: Any = INGEST_SOURCES[name][1]
    return read(raw, config, cache) if "cache" in inspect.signature(read).parameters else read(raw, config)


def replace(partial: Path, out: Path) -> None:
    """Put the folder `partial` in the place of `out`; killed at any point, one of the two is whole (see `restore`)."""
    old = out.with_name(out.name + ".old")
    if out.exists():
        shutil.rmtree(old, ignore_errors=True)
        out.rename(old)
    partial.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def restore(out: Path) -> None:
    """Bring back the tables that a run killed within `replace` had put aside."""
    old = out.with_name(out.name + ".old")
    if old.exists() and not out.exists():
        old.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def check_window(window: Window, days: tuple[date, ...]) -> None:
    """Raise WindowError, with the range the source has, unless the window lies between its first and last day."""
    first, last = days[0], days[-1]
    if first <= window.start and window.end <= last:
        return
    length = len(window.days)
    raise WindowError(
        f"window {window.start} to {window.end} ({length} days) leaves the data, which has {first} to {last} "
        f"({(last - first).days + 1} days); set window.end and window.*_days to days within"
    )


def summary(ingested: Ingested) -> dict[str, Any]:
    """What metrics.json holds. Lists carry the details, because DVC takes every number in a mapping for a metric."""
    counts, tables = ingested.counts, ingested.tables
    return {
        "source": ingested.source,
        "utc_offset_hours": tables.utc_offset_hours,
        "first_day": counts.days[0]["date"],
        "last_day": counts.days[-1]["date"],
        "rows": {
            "exposures": counts.rows,
            "users": len(tables.users),
            "videos": len(tables.videos),
            "unparsable": len(tables.unparsable),
            "after_window": sum(ingested.dropped.values()),
        },
        "seen": {"users": counts.num_seen("users"), "videos": counts.num_seen("videos")},
        "watch_time": {"mean_s": counts.mean_watch_s, "zero_share": counts.zeros / max(counts.rows, 1)},
        "days": counts.days,
        "days_missing": [day.isoformat() for day in ingested.missing_days],
        "days_late": [{"date": day.isoformat(), "rows": rows} for day, rows in ingested.late.items()],
        "days_after_window": [{"date": day.isoformat(), "rows": rows} for day, rows in ingested.dropped.items()],
        "columns": [
            dict(zip(("table", "column", "filled", "null_share"), row, strict=True)) for row in _columns(ingested)
        ],
        "unparsable": _unparsable_by_reason(tables.unparsable),
        "notes": list(tables.notes),
    }


def build_page(ingested: Ingested) -> Page:
    """What came in: rows by day, watch time, columns, and the lines that could not be read."""
    counts, tables = ingested.counts, ingested.tables
    page = Page(
        "ingest", "Ingest", f"Source `{ingested.source}` as canonical tables, a file per local day.", _verdict(ingested)
    )
    page.key_figures(
        {
            "exposures": counts.rows,
            "days": len(counts.days),
            "users": len(tables.users),
            "videos": len(tables.videos),
            "mean watch time, s": counts.mean_watch_s,
            "unparsable lines": len(tables.unparsable),
        },
        {"mean watch time, s": ".2f"},
    )
    _days_section(page, ingested)
    _watch_section(page, counts)
    _unparsable_section(page, tables.unparsable)
    _columns_section(page, ingested)
    return page


def _days_section(page: Page, ingested: Ingested) -> None:
    days = ingested.counts.days
    labels = [day["date"] for day in days]
    blocks: list[Any] = [
        charts.bar_chart(labels, [day["rows"] for day in days], "exposures", "Exposures by local day"),
        charts.line_chart(
            {"users": (labels, [d["users"] for d in days]), "videos": (labels, [d["videos"] for d in days])},
            "local day",
            "distinct ids",
            "Users and videos seen by local day",
        ),
        Table(
            ["day", "exposures", "users", "first seen", "videos", "first seen ", "mean watch, s", "median watch, s"],
            [list(day.values()) for day in days],
            formats={"mean watch, s": ".2f", "median watch, s": ".2f"},
        ),
        *_late_rows(ingested),
    ]
    if ingested.missing_days:
        blocks.insert(0, Callout("warn", f"No exposures on {_list_days(ingested.missing_days)}, inside the window."))
    if ingested.dropped:
        after = f"{sum(ingested.dropped.values()):,} exposures on {len(ingested.dropped)} days"
        blocks.append(Callout("info", f"After window.end ({ingested.window.end}), not written: {after}."))
    page.section("Days", *blocks, note=f"Local days are UTC{ingested.tables.utc_offset_hours:+d}.")


def _late_rows(ingested: Ingested) -> list[Any]:
    """Rows that came after the log had got past their day, where the log is in the order of time at all."""
    late = ingested.late
    num_rows = sum(late.values())
    if not late:
        return []
    if num_rows > MAX_LATE_SHARE * ingested.counts.rows:
        return [Callout("info", "The log is not in the order of time, so rows that came late cannot be told.")]
    rows = {day["date"]: day["rows"] for day in ingested.counts.days}
    table = [[day.isoformat(), count, count / rows[day.isoformat()]] for day, count in late.items()]
    caption = "Late rows: they stand in their log behind one shown hours after the end of their day"
    return [
        Table(["day", "late rows", "share of the day"], table, formats={"share of the day": ".2%"}, caption=caption)
    ]


def _watch_section(page: Page, counts: Counts) -> None:
    chart = charts.histogram_chart(
        {"exposures": (EDGES_S, counts.histogram)}, "watch time, s", "Watch time of plays above zero", log_x=True
    )
    facts = Facts(
        {"plays of 0 s": counts.zeros, "share of all": counts.zeros / max(counts.rows, 1)}, {"share of all": ".1%"}
    )
    page.section("Watch time", chart, facts)


def _unparsable_section(page: Page, unparsable: pl.DataFrame) -> None:
    if unparsable.is_empty():
        page.section("Unparsable lines", Text("Every line could be read."))
        return
    reasons = Table(["file", "reason", "lines"], [list(row.values()) for row in _unparsable_by_reason(unparsable)])
    examples = unparsable.sort("file", "line").head(NUM_EXAMPLES).with_columns(pl.col("text").str.slice(0, 120))
    page.section(
        "Unparsable lines",
        reasons,
        Table(examples.columns, [list(row) for row in examples.rows()], caption="First lines"),
        note="They are kept whole in unparsable.parquet and go to quarantine at validation.",
    )


def _columns_section(page: Page, ingested: Ingested) -> None:
    rows = [[table, column, filled, share] for table, column, filled, share in _columns(ingested)]
    notes = [Callout("info", note) for note in ingested.tables.notes]
    table = Table(["table", "column", "the source has it", "null"], rows, formats={"null": ".2%"})
    page.section("Columns", *notes, table)


def _columns(ingested: Ingested) -> list[tuple[str, str, bool, float]]:
    tables = ingested.tables
    shares = {
        "exposures": ingested.counts.null_shares(),
        "users": null_shares(conform(tables.users, USERS)),
        "videos": null_shares(conform(tables.videos, VIDEOS)),
    }
    return [
        (table, column, column in tables.columns_filled[table], share)
        for table, columns in shares.items()
        for column, share in columns.items()
    ]


def _unparsable_by_reason(unparsable: pl.DataFrame) -> list[dict[str, Any]]:
    kind = pl.col("reason").str.replace(r": .* is not ", ": not ")  # the value differs from line to line
    counted = unparsable.group_by("file", kind.alias("reason")).agg(lines=pl.len())
    return counted.sort("file", "reason").to_dicts()


def _verdict(ingested: Ingested) -> Verdict:
    if ingested.missing_days:
        return Verdict("warn", f"{len(ingested.missing_days)} days of the window have no exposures")
    if len(ingested.tables.unparsable):
        return Verdict("info", f"{len(ingested.tables.unparsable):,} lines could not be read")
    return Verdict("pass", "every line read, every day of the window present")


def _closing_line(ingested: Ingested) -> str:
    counts, tables = ingested.counts, ingested.tables
    after = sum(ingested.dropped.values())
    return (
        f"{counts.rows:,} exposures on {len(counts.days)} days, {len(tables.users):,} users, "
        f"{len(tables.videos):,} videos; {len(tables.unparsable):,} unparsable lines, "
        f"{after:,} exposures after window.end not written"
    )


def _count_rows(tables: SourceTables, day: date) -> int:
    return tables.known_days[day].rows if day in tables.known_days else len(tables.exposures_of(day))


def _list_days(days: list[date]) -> str:
    return ", ".join(day.isoformat() for day in days)


if __name__ == "__main__":
    run_stage(main)
