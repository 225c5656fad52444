"""Small generated canonical tables on disk, for tests of what comes after ingest."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from watchline.data.sources.writing import write_source
from watchline.data.synthetic import SyntheticConfig
from watchline.data.synthetic.source import read


def small_config(
    *, days: int = 5, exposures: int = 2000, seed: int = 0, first_day: date = date(2024, 3, 1), **values: float
) -> SyntheticConfig:
    """The generator's config at test size; `values` sets drift or defects."""
    return SyntheticConfig(
        source="synthetic", path=".", seed=seed, first_day=first_day, days=days, exposures=exposures, **values
    )


def write_canonical(
    directory: Path,
    *,
    days: int = 5,
    exposures: int = 2000,
    seed: int = 0,
    first_day: date = date(2024, 3, 1),
    **values: float,
) -> Path:
    """Write the layout of data/ingest, law included, into `directory` and return it; 0.1 s at the default size."""
    config = small_config(days=days, exposures=exposures, seed=seed, first_day=first_day, **values)
    write_source(read(Path(config.path), config), "synthetic", directory)
    return directory
