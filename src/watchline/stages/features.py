"""Clean exposures into a table of features as of each exposure's moment, and the store that serves them.

PYTHONPATH=src python -m watchline.stages.features --tables data/validate --repo features --out data/features \
    --report reports/features
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from watchline.config import ConfigError, load_section
from watchline.data.columns import Columns
from watchline.data.day_cache import DayCache, code_digest
from watchline.data.screening import Source
from watchline.data.spacing import evenly_spaced
from watchline.data.splits import Window
from watchline.data.tables import days_on_disk, read_days, read_parquet
from watchline.feature_store.groups import GROUPS
from watchline.feature_store.history import Exposures
from watchline.feature_store.snapshots import start_of_day
from watchline.feature_store.sources import FeaturesConfig, Statistics, keys_of_videos, write_profiles
from watchline.feature_store.table import coverage_by_day, labelled, null_shares
from watchline.report import Facts, Page, Table, Text, Verdict, charts, write_json
from watchline.stages import log, run_stage

if TYPE_CHECKING:
    from watchline.feature_store.online import Parity


CACHE = Path("runs/cache/features")  # outside the outputs, which DVC removes before the stage runs
# Parts of the package that the cached days depend on.
CODE = (
    "feature_store",
    "data/columns.py",
    "data/row_hashes.py",
    "data/rules.py",
    "data/schema.py",
    "data/splits.py",
    "data/tables.py",
    "stages/features.py",
)


@dataclass(frozen=True)
class Built:
    """What the stage made, for the report."""

    columns: Columns
    rows: int
    days: list[date]
    source_rows: dict[str, int]
    online_rows: dict[str, int]
    nulls: pl.DataFrame
    coverage: pl.DataFrame
    parity: Parity


def main(argv: list[str] | None = None) -> None:
    """Write sources, feature table, schema, online store and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("tables", "repo", "out", "report"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    paths = parser.parse_args(argv)
    config = load_section(FeaturesConfig, "features")
    window = load_section(Window, "window")
    built = build(paths.tables, paths.repo, paths.out, config, window)
    write_json(paths.report / "metrics.json", summary(built, config, window))
    build_page(built, config, window).write(paths.report / "index.html")


def build(tables: Path, repo: Path, out: Path, config: FeaturesConfig, window: Window) -> Built:
    """Sources, table and schema into `out`, and the online store where the repository says."""
    offset_hours = Source.read(tables / "source.json").utc_offset_hours
    days = days_to_join(tables / "exposures", window)
    labelled(read_days(tables / "exposures", days[:1]), config.label)  # a wrong label shows before the work
    users, videos = (read_parquet(tables / f"{name}.parquet") for name in ("users", "videos"))
    exposures = Exposures(tables / "exposures", days, keys_of_videos(videos), offset_hours, window)
    cache = DayCache(CACHE, code_digest(*CODE))
    statistics = Statistics(exposures, config, cache)
    # One snapshot more than there are days: what is known when the day after the last one begins.
    next_day = days[-1] + timedelta(days=1)
    source_rows = statistics.write([*days, next_day], out / "sources") | write_profiles(users, videos, out / "sources")
    made = statistics.num_made
    log(f"{sum(source_rows.values()):,} feature rows in {len(source_rows)} sources; {made} days made anew")

    # Feast takes seconds to import; a wrong parameter or a missing file shows before that.
    from watchline.feature_store.joined_days import JoinedDays
    from watchline.feature_store.materialise import materialise
    from watchline.feature_store.online import compare
    from watchline.feature_store.repository import open_store

    with JoinedDays(repo, tables, out / "sources", statistics, config.label) as joined:
        counts = joined.write(days, out, cache)
    columns = Columns.read(out / "schema.json")
    num_rows = sum(count.rows for count in counts)
    log(f"{num_rows:,} rows: {len(columns.categorical)} categorical, {len(columns.numeric)} numeric features")
    with open_store(repo, out, keep_state=True) as store:
        moment = start_of_day(next_day, offset_hours)
        online = materialise(store, moment)
        keys = read_days(tables / "exposures", days, ["user_id", "video_id", "surface"])
        parity = compare(store, evenly_spaced(keys, config.online_sample), moment, offset_hours)
    online_rows = {view: filled.rows for view, filled in online.items()}
    changed = sum(filled.written + filled.removed for filled in online.values())
    log(f"{sum(online_rows.values()):,} entities online, {changed:,} of them new, changed or gone since the last run")
    log(f"{parity.share:.2%} of {parity.values:,} online values as offline")
    cache.close()
    nulls, coverage = null_shares(counts, window), coverage_by_day(counts)
    return Built(columns, num_rows, days, source_rows, online_rows, nulls, coverage, parity)


def days_to_join(directory: Path, window: Window) -> list[date]:
    """Days on disk up to the window's end; raises ConfigError naming the window's days that are not there."""
    days = [day for day in days_on_disk(directory) if day <= window.end]
    missing = [day.isoformat() for day in window.days if day not in days]
    if missing:
        have = f"{days[0]} to {days[-1]}" if days else "none"
        raise ConfigError(f"window: {directory} lacks {', '.join(missing)} (days it has: {have}); set window.* to fit")
    return days


def summary(built: Built, config: FeaturesConfig, window: Window) -> dict[str, Any]:
    """The content of metrics.json."""
    return {
        "rows": built.rows,
        "first_day": built.days[0].isoformat(),
        "last_day": built.days[-1].isoformat(),
        "days_behind_window_end": (window.end - built.days[-1]).days,
        "freshness": config.freshness,
        "features": {"categorical": len(built.columns.categorical), "numeric": len(built.columns.numeric)},
        "null_shares": built.nulls.select("feature", share="all").to_dicts(),
        "history_share": {group.name: built.coverage[group.name][-1] for group in GROUPS},
        "source_rows": built.source_rows,
        "online_rows": built.online_rows,
        "online_parity": {
            "rows": built.parity.rows,
            "values": built.parity.values,
            "equal_share": built.parity.share if built.parity.values else None,
            "differing": [{"feature": name, "values": count} for name, count in sorted(built.parity.differing.items())],
        },
    }


def build_page(built: Built, config: FeaturesConfig, window: Window) -> Page:
    """The page: what the table holds, how much history stands behind it, and whether both stores agree."""
    parity = built.parity
    page = Page(
        "features",
        "Features",
        "One row per clean exposure with what was known at its moment: statistics of the trailing days, profiles of "
        "user and video, and the context of the request. Joined through Feast; definitions are in `features/`.",
        _verdict(parity),
    )
    page.key_figures(
        {
            "exposures": built.rows,
            "categorical features": len(built.columns.categorical),
            "numeric features": len(built.columns.numeric),
            "newest day": built.days[-1].isoformat(),
            "equal online": parity.share if parity.values else None,
        },
        {"equal online": ".2%"},
    )
    xs, groups = list(range(len(built.days))), [group.name for group in GROUPS]
    page.section(
        "History behind the statistics",
        charts.line_chart(
            {name: (xs, built.coverage[name].to_list()) for name in groups},
            x_label=f"days since {built.days[0]}",
            y_label="share of exposures",
            title="Exposures with history, by day",
        ),
        Table(["day", "exposures", *groups], built.coverage.rows(), formats=_percent(groups)),
        note=f"Trailing days: {_listed(config.windows)} of users, videos and authors, "
        f"{_listed(config.pair_windows)} of pairs. The first days of a source have little behind them.",
    )
    splits = built.nulls.columns[2:]
    page.section(
        "Null share of every feature",
        Table(built.nulls.columns, built.nulls.rows(), formats=_percent(["all", *splits])),
        note="A statistic is null where its entity has no exposure on the trailing days.",
    )
    rows = [[name, built.source_rows.get(name), built.online_rows.get(name)] for name in _source_names(built)]
    page.section(
        "Sources and online store",
        Table(["view", "rows of its source", "entities online"], rows),
        Facts({"requests compared": parity.rows, "values compared": parity.values, "values equal": parity.equal}),
        Text(_differences(parity)),
    )
    return page


def _listed(days: list[int]) -> str:
    return ", ".join(map(str, days))


def _percent(columns: list[str]) -> dict[str, str]:
    return dict.fromkeys(columns, ".1%")


def _verdict(parity: Parity) -> Verdict:
    if not parity.values:
        return Verdict("pass", "rows out equal rows in; nothing was compared online (features.online_sample is 0)")
    if parity.share == 1.0:
        return Verdict("pass", "rows out equal rows in; the online store serves what training saw")
    return Verdict("warn", f"{parity.share:.2%} of online values equal the offline ones")


def _source_names(built: Built) -> list[str]:
    return list(dict.fromkeys([*built.source_rows, *built.online_rows]))


def _differences(parity: Parity) -> str:
    if not parity.values:
        return "No value was compared: features.online_sample is 0."
    if not parity.differing:
        return "Every compared value is equal, bit for bit, in the offline join and in the online store."
    worst = sorted(parity.differing.items(), key=lambda item: (-item[1], item[0]))[:10]
    return "Differing values: " + ", ".join(f"{name} {count:,}" for name, count in worst) + "."


if __name__ == "__main__":
    run_stage(main)
