"""A simulated online A/B test: both arms rank the same candidates, an environment answers, statistics judge.

Run by `dvc repro abtest`, or: python -m watchline.stages.abtest --tables data/ingest --features data/features
--repo features --models models --predictions data/evaluate --report reports/abtest
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from watchline.config import load_section
from watchline.data.columns import Columns
from watchline.data.splits import Window
from watchline.data.tables import read_split
from watchline.experiment.config import AbtestConfig
from watchline.experiment.environments import (
    Environment,
    MatrixEnvironment,
    ReplayEnvironment,
    RewardModelEnvironment,
)
from watchline.experiment.environments.choice import make_environment
from watchline.experiment.page import build_page
from watchline.experiment.past import expected_watch_s, pre_period, read_past, watch_by_user
from watchline.experiment.policies import Policy
from watchline.experiment.processes import simulate
from watchline.experiment.replay_page import build_replay_page
from watchline.experiment.replay_summary import summarise_replay
from watchline.experiment.requests import catalogues_of, draw_requests, prepare_candidates
from watchline.experiment.simulation import World
from watchline.experiment.summary import Plan, summarise
from watchline.experiment.sweep import Sweep, measure_sweep
from watchline.experiment.trained import load_arm, make_sweep, remember_predictions, with_memory
from watchline.report import write_json
from watchline.report.page import Page
from watchline.stages import log, run_stage
from watchline.training.seeding import seed_everything


def main(argv: list[str] | None = None) -> None:
    """Simulate, analyse, write metrics.json and the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("tables", "features", "repo", "models", "predictions", "report"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    paths = parser.parse_args(argv)
    config = load_section(AbtestConfig, "abtest")
    window = load_section(Window, "window")
    seed_everything(config.seed, config.num_threads)
    columns = Columns.read(paths.features / "schema.json")
    arms = {arm: load_arm(config, arm, paths.models, columns.label) for arm in config.arms}
    table = read_split(paths.features / "table", window, "eval")
    table = table.filter(pl.col("date") >= window.ranges["eval"][0])  # rows split otherwise lie on other days too
    if config.environment == "replay":
        result = replay(
            config, table, columns, arms, partial(join_features, repo=paths.repo, features_dir=paths.features)
        )
        write(result | asked(config, window, result["log"]["rows"]), build_replay_page, paths.report)
        return
    environment = make_environment(config, paths.tables / "law", paths.features / "table", table, columns)
    log(f"environment: {environment.name}; {len(table):,} exposures on the eval days")

    past = read_past(paths.features / "table", window, config)
    requests = draw_requests(table, config.requests, config.seed)
    sweep = make_sweep(config, paths.models, paths.predictions, paths.features / "table", window, columns)
    log(f"sweep over {len(sweep.entries)} models: {', '.join(sweep.entries) or 'none'}")
    arms = {arm: with_memory(policy, sweep) for arm, policy in arms.items()}
    world = make_world(config, arms, sweep, environment, requests, past, paths.repo, paths.features)
    before = pre_period(past, window, config)
    log(f"{len(requests):,} sessions with {config.candidates} candidates each")
    simulation = simulate(
        requests,
        expected_watch_s(requests["user_id"].to_numpy(), before),
        world,
        processes=config.processes,
        num_threads=config.num_threads,
        progress=log,
    )
    plan = Plan(config.salt, config.treatment_share, config.false_positive_runs, config.margins, config.smallest_lift)
    result = summarise(simulation, arms, watch_by_user(simulation.users, before), environment, plan)
    result |= asked(config, window, len(requests))
    if sweep.entries:
        remember_predictions(sweep, paths.predictions, table)
        users_of_sessions = simulation.users[simulation.user_N]
        result["sweep"] = measure_sweep(sweep, table, columns.label, simulation.swept, users_of_sessions)
    if isinstance(environment, RewardModelEnvironment):
        result["reward_model"] = environment.fit_quality
    if isinstance(environment, MatrixEnvironment):
        result["observed_share"] = environment.observed_share
    write(result, build_page, paths.report)


def write(result: dict[str, Any], build: Callable[[dict[str, Any]], Page], report_dir: Path) -> None:
    """metrics.json and the page of it."""
    write_json(report_dir / "metrics.json", result)
    build(result).write(report_dir / "index.html")
    log(result["verdict"]["text"])


def replay(
    config: AbtestConfig,
    table: pl.DataFrame,
    columns: Columns,
    arms: dict[str, Policy],
    join: Callable[[pl.DataFrame], pl.DataFrame],
) -> dict[str, Any]:
    """The arms valued on the random rows of the eval days; of the settings of sessions none has a part in it."""
    environment = ReplayEnvironment(table, replace(columns, label="watch_time_s"), config.requests, config.seed)
    log(f"environment: replay; {len(environment.rows):,} random exposures of {len(environment.pool):,} videos")
    return summarise_replay(environment, arms, environment.ask(arms, config.candidates, join))


def make_world(
    config: AbtestConfig,
    arms: dict[str, Policy],
    sweep: Sweep,
    environment: Environment,
    requests: pl.DataFrame,
    past: pl.DataFrame,
    repo: Path,
    features_dir: Path,
) -> World:
    """What every chunk of sessions is run with."""
    catalogues = catalogues_of(requests, past, config.retrieval, config.catalogue_days)
    prepare = partial(
        prepare_candidates,
        catalogues=catalogues,
        size=config.candidates,
        known=environment.known,
        join=partial(join_features, repo=repo, features_dir=features_dir),
    )
    return World(
        arms,
        environment,
        config.patience,
        prepare,
        top_k=config.top_k,
        pages=config.pages,
        seed=config.seed,
        expectation_runs=config.expectation_runs,
        swept=sweep.policies,
        sweep_runs=config.sweep_runs,
    )


def join_features(candidates: pl.DataFrame, repo: Path, features_dir: Path) -> pl.DataFrame:
    """Feature columns as of each request's moment, through Feast's historical join.

    It is what the online store would have answered: batch features are daily snapshots of what ended before their day
    began, the online store of a day is filled from that same day's snapshots, and both go through the same feature
    service (the features stage compares the two value by value and reports the parity). The store itself holds one
    moment, its last, and would have to be filled anew for every day; the join answers for every moment at once.
    """
    from watchline.feature_store.join import historical_features

    return historical_features(repo, features_dir, candidates)


def asked(config: AbtestConfig, window: Window, num_requests: int) -> dict[str, Any]:
    """What was asked of the arms, for metrics.json and the page."""
    first, last = window.ranges["eval"]
    names = ("candidates", "top_k", "pages", "retrieval", "catalogue_days", "pre_period_days")
    values = {name: getattr(config, name) for name in names}
    return {
        "asked": {"requests": num_requests, **values, "patience": config.patience.model_dump()},
        "window": {"eval_first": first.isoformat(), "eval_last": last.isoformat()},
    }


if __name__ == "__main__":
    run_stage(main)
