"""Small clean tables, as validate leaves them, and the feature store's sources built on them."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from tests.helpers.canonical import write_canonical
from watchline.data.day_cache import DayCache
from watchline.data.rules import RowLimits
from watchline.data.screening import Source, screen_tables
from watchline.data.splits import Window
from watchline.data.tables import day_path, days_on_disk, read_days, read_parquet, write_parquet
from watchline.feature_store.history import Exposures
from watchline.feature_store.sources import FeaturesConfig, Statistics, keys_of_videos, write_profiles

ROOT = Path(__file__).resolve().parents[2]
CONFIG = FeaturesConfig(
    windows=[1, 3, 7],
    pair_windows=[7],
    all_time=True,
    pair_all_time=False,
    pair_min_exposures=1,
    shrinkage=0.0,
    freshness="daily",
    online_sample=50,
)
LIMITS = RowLimits(max_play_s=86_400, max_duration_s=86_400, day_slack_h=3)


def write_clean(directory: Path, *, days: int = 5, exposures: int = 1500, seed: int = 0, **values: Any) -> Path:
    """Write the layout of data/validate into `directory`/validate and return it."""
    ingest = write_canonical(directory / "ingest", days=days, exposures=exposures, seed=seed, **values)
    last = days_on_disk(ingest / "exposures")[-1]
    window = Window(end=last, eval_days=1, finetune_days=0, valid_days=1, train_days=days - 2)
    return screen(ingest, directory / "validate", window)


def screen(ingest: Path, out: Path, window: Window) -> Path:
    """The row rules of validate on the tables of ingest, without its dataset rules; returns `out`."""
    source = Source.read(ingest / "source.json")
    screen_tables(ingest, out, LIMITS, window, source, 10**6)
    shutil.copyfile(ingest / "source.json", out / "source.json")
    return out


def read_exposures(tables: Path) -> pl.DataFrame:
    """Every clean exposure."""
    return read_days(tables / "exposures", days_on_disk(tables / "exposures"))


def write_store(
    tables: Path, directory: Path, exposures: pl.DataFrame | None = None, freshness: str = "daily"
) -> tuple[Path, Path]:
    """Sources of `exposures` (default: the tables') in `directory`/data/features, and a copy of the repository.

    Returns the repository and the features folder.
    """
    repo, features = directory / "features", directory / "data/features"
    shutil.copytree(ROOT / "features", repo, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    config = CONFIG.model_copy(update={"freshness": freshness})
    users, videos = (read_parquet(tables / f"{name}.parquet") for name in ("users", "videos"))
    rows = read_exposures(tables) if exposures is None else exposures
    offset = Source.read(tables / "source.json").utc_offset_hours
    directory_of_days, days = directory / "exposures", days_on_disk(tables / "exposures")
    for day in days:
        write_parquet(rows.filter(pl.col("date") == day), day_path(directory_of_days, day))
    read = Exposures(directory_of_days, days, keys_of_videos(videos), offset)
    statistics = Statistics(read, config, DayCache(directory / "cache", "tests"))
    statistics.write(snapshot_days(tables), features / "sources")
    write_profiles(users, videos, features / "sources")
    (features / "schema.json").write_text(f'{{"utc_offset_hours": {offset}}}')
    return repo, features


def snapshot_days(tables: Path) -> list[date]:
    """The tables' days and the one after."""
    days = days_on_disk(tables / "exposures")
    return [*days, days[-1] + timedelta(days=1)]
