"""The generator behind the interface of a source."""

from __future__ import annotations

from datetime import date, timedelta
from functools import partial
from pathlib import Path

import polars as pl

from watchline.data.schema import EXPOSURES, USERS, VIDEOS
from watchline.data.sources.base import SourceTables, empty_unparsable
from watchline.data.synthetic.config import UTC_OFFSET_HOURS, SyntheticConfig, day_generator
from watchline.data.synthetic.generate import generate_day
from watchline.data.synthetic.law import USER_STATE, VIDEO_STATE, Law
from watchline.data.synthetic.parameters import STREAM_PARAMETERS, draw_parameters
from watchline.data.synthetic.population import Population, draw_population


def build_law(config: SyntheticConfig, population: Population) -> Law:
    """The law that `config` stands for."""
    generator = day_generator(config.seed, STREAM_PARAMETERS, 0)
    parameters = draw_parameters(generator, config.first_day, UTC_OFFSET_HOURS, config.drift)
    return Law(parameters, population.users.select(USER_STATE), population.videos.select(VIDEO_STATE))


def read(path: Path, config: SyntheticConfig) -> SourceTables:
    """Tables and law of `config`; days are generated one by one as they are asked for. `path` is not read."""
    population = draw_population(config)
    law = build_law(config, population)

    def exposures_of(day: date) -> pl.DataFrame:
        return generate_day(config, population, law, (day - config.first_day).days)

    shown = population.videos.with_columns(duration_s=pl.col("shown_duration_s"))
    return SourceTables(
        days=tuple(config.first_day + timedelta(days=i) for i in range(config.days)),
        exposures_of=exposures_of,
        users=population.users.select(pl.col(name).cast(kind) for name, kind in USERS.items()),
        videos=shown.select(pl.col(name).cast(kind) for name, kind in VIDEOS.items()),
        unparsable=empty_unparsable(),
        utc_offset_hours=UTC_OFFSET_HOURS,
        columns_filled={"exposures": tuple(EXPOSURES), "users": tuple(USERS), "videos": tuple(VIDEOS)},
        write_extras=partial(_write_law, law),
    )


def _write_law(law: Law, directory: Path) -> None:
    law.save(directory / "law")
