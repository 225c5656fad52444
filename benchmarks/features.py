"""What each group of features is worth on real data: LightGBM of absolute error without it, validation and test days.

    python benchmarks/features.py --raw ../shared/data/kuairand-pure-10d        # about 15 minutes of one core

Runs ingest, validate and features on the raw log in a temporary folder (or takes --features DIR of an earlier run) and
fits the trees of conf/train once per set of columns and seed, on one thread: train to 2022-05-01, early stopping on
05-02, test on 05-03 and 05-04. Test days are reported and choose nothing. Prints a Markdown table.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(root), str(root / "src")]

import lightgbm
import numpy as np
import polars as pl

from benchmarks import excerpt
from watchline.config import parse
from watchline.data.columns import Columns
from watchline.data.encoding import TableEncoder
from watchline.data.splits import Window
from watchline.data.tables import read_days
from watchline.feature_store.groups import GROUPS
from watchline.metrics import mae, xauc
from watchline.models.common import CommonConfig
from watchline.models.lightgbm import CONFIG, LightGBMConfig, booster_parameters, category_positions, design_matrix

CONTEXT = ("surface", "hour", "weekday", "video_age_days")
USER_PROFILE = ("active_degree", "is_", "follow_count", "fans_count", "friend_count", "register_days", "segment_")
VIDEO_PROFILE = ("video_type", "upload_type", "music_", "width", "height", "duration_s")
PREFIX = {group.name: f"{group.prefix}_" for group in GROUPS}
OF_USERS = ("user_stats", "user_surface_stats", "user_author_stats", "user_topic_stats")
Tables = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]


def main() -> None:
    """Build the features if need be, fit every set of columns, print the table."""
    arguments = excerpt.parser(__doc__, overrides=[]).parse_args()
    with excerpt.prepared(arguments) as (params, features):
        window, columns = parse(Window, params["window"], "window"), Columns.read(features / "schema.json")
        tables = tuple(read_days(features / "table", window.split_days(split)) for split in ("train", "valid", "eval"))
        print("| features | columns | valid MAE s | valid XAUC | test MAE s | test XAUC |\n|---|---|---|---|---|---|")
        for name, dropped in ablations(columns):
            kept = replace(
                columns,
                categorical=tuple(column for column in columns.categorical if not dropped(column)),
                numeric=tuple(column for column in columns.numeric if not dropped(column)),
            )
            seeds = range(1, arguments.seeds + 1)
            values = np.array([fit_one(params, tables, kept, seed) for seed in seeds])
            cells = [f"{mean:.{3 if i % 2 == 0 else 4}f}" for i, mean in enumerate(values.mean(axis=0))]
            print(f"| {name} | {len(kept.categorical) + len(kept.numeric)} | {' | '.join(cells)} |", flush=True)


def ablations(columns: Columns) -> Iterator[tuple[str, Callable[[str], bool]]]:
    """Name of a set of features, and which columns are left out of it."""
    statistics = {name: group_of(name) for name in columns.numeric}
    yield "all", lambda name: False
    yield "no statistics at all", lambda name: bool(statistics.get(name))
    yield "without all statistics of users", lambda name: statistics.get(name) in OF_USERS
    yield (
        "without all statistics of videos and authors",
        lambda name: bool(statistics.get(name)) and (statistics[name] not in OF_USERS),
    )
    for group in GROUPS:
        yield f"without `{group.name}`", lambda name, group=group: statistics.get(name) == group.name
    windows = {name.rsplit("_", 1)[1] for name, group in statistics.items() if group}
    for window in sorted(windows):
        yield (
            f"without `_{window}`",
            lambda name, window=window: bool(statistics.get(name)) and name.endswith(f"_{window}"),
        )
    for title, names in (("user profile", USER_PROFILE), ("video profile", VIDEO_PROFILE), ("context", CONTEXT)):
        yield f"without {title}", lambda name, names=names: not statistics.get(name) and name.startswith(names)


def group_of(column: str) -> str | None:
    """Group of statistics that a column belongs to: the one with the longest prefix that fits."""
    fitting = [group for group, prefix in PREFIX.items() if column.startswith(prefix)]
    if not fitting or column.rsplit("_", 1)[1] not in ("all", *(f"{days}d" for days in range(1, 100))):
        return None
    return max(fitting, key=lambda group: len(PREFIX[group]))


def fit_one(params: dict[str, Any], tables: Tables, columns: Columns, seed: int) -> list[float]:
    """MAE and XAUC of the median on the validation day, then on the test days."""
    common = parse(CommonConfig, {**params["train"]["common"], "seed": seed, "num_threads": 1}, "train.common")
    config = parse(CONFIG, params["train"]["lightgbm"], "train.lightgbm")
    train, *held_out = tables
    encoder = TableEncoder.fit(train, columns, common.columns)
    booster = fit_median(encoder, config, common, train, held_out[0])
    values = []
    for table in held_out:
        truth = table[columns.label].to_numpy()
        predicted = np.maximum(booster.predict(design_matrix(encoder, config, table)), 0.0)
        values += [mae(truth, predicted), xauc(truth, predicted)]
    return values


def fit_median(
    encoder: TableEncoder, config: LightGBMConfig, common: CommonConfig, train: pl.DataFrame, valid: pl.DataFrame
) -> lightgbm.Booster:
    """Trees of absolute error with the line's settings, stopped early on the validation rows."""
    label = encoder.columns.label
    parameters = booster_parameters("median", config, common)
    data = lightgbm.Dataset(
        design_matrix(encoder, config, train),
        train[label].to_numpy(),
        categorical_feature=category_positions(encoder, config),
        params=parameters,
    )
    return lightgbm.train(
        parameters,
        data,
        config.num_rounds,
        valid_sets=[data.create_valid(design_matrix(encoder, config, valid), valid[label].to_numpy())],
        callbacks=[lightgbm.early_stopping(config.early_stopping_rounds, verbose=False)],
    )


if __name__ == "__main__":
    main()
