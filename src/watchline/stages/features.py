"""Clean exposures into a table of features as of each exposure's moment, and the store that serves them.

PYTHONPATH=src python -m watchline.stages.features --tables data/validate --repo features --out data/features \
    --report reports/features
"""

from __future__ import annotations

import argparse
from datetime import date, timedelta
from pathlib import Path

from watchline.config import ConfigError, load_section
from watchline.data.screening import Source
from watchline.data.splits import Window
from watchline.data.tables import days_on_disk, read_days, read_parquet
from watchline.feature_store.sources import FeaturesConfig, write_sources
from watchline.feature_store.table import KEYS, LABEL, columns_of, write_table
from watchline.stages import log, run_stage


def main(argv: list[str] | None = None) -> None:
    """Write sources, feature table, schema and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("tables", "repo", "out", "report"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    paths = parser.parse_args(argv)
    config = load_section(FeaturesConfig, "features")
    window = load_section(Window, "window")
    source = Source.read(paths.tables / "source.json")
    days = days_to_join(paths.tables / "exposures", window)
    exposures = read_days(paths.tables / "exposures", days)
    log(f"{len(exposures):,} exposures on {len(days)} days, {days[0]} to {days[-1]}")

    # One snapshot more than there are days: what is known when the day after the last one begins.
    rows = write_sources(
        exposures,
        *(read_parquet(paths.tables / f"{name}.parquet") for name in ("users", "videos")),
        [*days, days[-1] + timedelta(days=1)],
        source.utc_offset_hours,
        config,
        paths.out / "sources",
    )
    log(f"{sum(rows.values()):,} feature rows in {len(rows)} sources")
    from watchline.feature_store.join import join
    from watchline.feature_store.repository import open_store

    with open_store(paths.repo, paths.out, keep_state=True) as store:
        table = join(store, exposures.select(*KEYS, LABEL, "surface"), source.utc_offset_hours)
    columns = columns_of(table)
    write_table(table, columns, source.utc_offset_hours, paths.out)
    log(f"{len(table):,} rows with {len(columns.categorical)} categorical and {len(columns.numeric)} numeric features")


def days_to_join(directory: Path, window: Window) -> list[date]:
    """Days on disk up to the window's end; raises ConfigError naming the window's days that are not there."""
    days = [day for day in days_on_disk(directory) if day <= window.end]
    missing = [day.isoformat() for day in window.days if day not in days]
    if missing:
        have = f"{days[0]} to {days[-1]}" if days else "none"
        raise ConfigError(f"window: {directory} lacks {', '.join(missing)} (days it has: {have}); set window.* to fit")
    return days


if __name__ == "__main__":
    run_stage(main)
