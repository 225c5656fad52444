"""Which environment answers: the one that is asked for, or the truth where there is one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl

from watchline.config import ConfigError
from watchline.data.columns import Columns
from watchline.data.tables import days_on_disk, read_days
from watchline.experiment.config import AbtestConfig
from watchline.experiment.environments.base import Environment
from watchline.experiment.environments.matrix import MatrixEnvironment
from watchline.experiment.environments.model import RewardModelEnvironment
from watchline.experiment.environments.oracle import OracleEnvironment


def make_environment(
    config: AbtestConfig, law_dir: Path, table_dir: Path, table: pl.DataFrame, columns: Columns
) -> Environment:
    """The environment that config names; raises ConfigError for an oracle without a law.

    The matrix is made of the rows of `table_dir` whose video no policy chose, or of all where none is marked so.
    """
    has_law = (law_dir / "law.json").is_file()
    if config.environment == "oracle" and not has_law:
        raise ConfigError(
            f"abtest.environment: oracle needs the law of generated data, and {law_dir} is not there; "
            "set abtest.environment to model or auto"
        )
    if config.environment == "matrix":
        names = ["user_id", "video_id", "exposed_at", "watch_time_s", "is_random"]
        rows = read_days(table_dir, days_on_disk(table_dir), names)
        marked = rows.filter(pl.col("is_random").fill_null(False))
        return MatrixEnvironment(rows if marked.is_empty() else marked)
    if config.environment == "model" or not has_law:
        # What an arm is judged by is watch time, whatever its models predict.
        return RewardModelEnvironment(table, replace(columns, label="watch_time_s"), seed=config.seed)
    from watchline.data.synthetic.law import Law

    return OracleEnvironment(Law.load(law_dir))
