"""A simulated online A/B test: both arms rank the same candidates, an environment answers, statistics judge.

Run by `dvc repro abtest`, or: python -m watchline.stages.abtest --tables data/ingest --features data/features
--repo features --models models --report reports/abtest
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import Field, ValidationInfo, field_validator

from watchline.config import Config, ConfigError, load_section
from watchline.data.columns import Columns
from watchline.data.splits import Window
from watchline.data.tables import days_on_disk, read_days, read_split
from watchline.experiment.environments import Environment, OracleEnvironment, RewardModelEnvironment
from watchline.experiment.page import build_page
from watchline.experiment.policies import Policy
from watchline.experiment.requests import Retrieval, draw_candidates, draw_requests
from watchline.experiment.simulation import simulate
from watchline.experiment.summary import Plan, summarise
from watchline.models import load_model
from watchline.report import write_json
from watchline.stages import log, run_stage
from watchline.training.seeding import seed_everything


class AbtestConfig(Config):
    """Section `abtest` of params.yaml."""

    environment: Literal["auto", "oracle", "model"] = "auto"
    control: str = "lightgbm"
    treatment: str = "gr_finetuned"
    control_statistic: str = "mean"
    treatment_statistic: str = "mean"
    treatment_share: float = Field(default=0.5, gt=0, lt=1, description="share of the users")
    requests: int = Field(default=6000, ge=10, description="drawn from the exposures of the eval days")
    retrieval: Retrieval = "popular"
    catalogue_days: int = Field(default=3, ge=1, description="days before a request whose videos may be candidates")
    candidates: int = Field(default=20, ge=2, le=1000)
    top_k: int = Field(default=4, ge=1)
    pre_period_days: int = Field(default=7, ge=1, description="days before the eval days, for CUPED")
    false_positive_runs: int = Field(default=200, ge=10, le=10_000, description="A/A splits")
    seed: int = Field(default=1, ge=0)
    num_threads: int = Field(default=2, ge=1, description="fixed, because sums depend on how work is split")
    salt: str = Field(default="watchline", min_length=1)

    @field_validator("top_k")
    @classmethod
    def _within_candidates(cls, top_k: int, info: ValidationInfo) -> int:
        if top_k > info.data.get("candidates", top_k):
            raise ValueError(f"must be at most abtest.candidates, {info.data['candidates']}")
        return top_k


def main(argv: list[str] | None = None) -> None:
    """Simulate, analyse, write metrics.json and the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("tables", "features", "repo", "models", "report"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    paths = parser.parse_args(argv)
    config = load_section(AbtestConfig, "abtest")
    window = load_section(Window, "window")
    seed_everything(config.seed, config.num_threads)
    arms = {arm: load_arm(config, arm, paths.models) for arm in ("control", "treatment")}
    columns = Columns.read(paths.features / "schema.json")
    table = read_split(paths.features / "table", window, "eval")
    table = table.filter(pl.col("date") >= window.ranges["eval"][0])  # rows split otherwise lie on other days too
    environment = make_environment(config, paths.tables / "law", table, columns)
    log(f"environment: {environment.name}; {len(table):,} exposures on the eval days")

    past = read_past(paths.features / "table", window, config)
    requests = draw_requests(table, config.requests, config.seed)
    candidates = draw_candidates(
        requests, past, config.candidates, config.retrieval, config.catalogue_days, config.seed
    )
    candidates = join_features(candidates, paths.repo, paths.features)
    log(f"{len(requests):,} requests with {config.candidates} candidates each")
    simulation = simulate(candidates, len(requests), arms, environment, config.top_k, config.seed, log)
    first = window.ranges["eval"][0]
    before = past.filter(
        pl.col("date").is_between(first - timedelta(days=config.pre_period_days), first, closed="left")
    )
    plan = Plan(config.salt, config.treatment_share, config.false_positive_runs)
    result = summarise(simulation, arms, watch_by_user(simulation.users, before), environment, plan)
    result |= asked(config, window, len(requests))
    if isinstance(environment, RewardModelEnvironment):
        result["reward_model"] = environment.fit_quality
    write_json(paths.report / "metrics.json", result)
    build_page(result).write(paths.report / "index.html")
    log(result["verdict"]["text"])


def load_arm(config: AbtestConfig, arm: str, models_dir: Path) -> Policy:
    """The policy of `control` or `treatment`; raises ConfigError naming the parameter when it cannot be had."""
    name, statistic = getattr(config, arm), getattr(config, f"{arm}_statistic")
    if not (models_dir / name / "model.json").is_file():
        there = sorted(path.parent.name for path in models_dir.glob("*/model.json"))
        raise ConfigError(
            f"abtest.{arm}: {models_dir / name} is not a trained model; add {name!r} to `models`, or set abtest.{arm} "
            f"to one of: {', '.join(there) or 'none there yet'}"
        )
    model = load_model(models_dir / name)
    if statistic not in model.statistics:
        known = ", ".join(model.statistics)
        raise ConfigError(f"abtest.{arm}_statistic: model {name!r} cannot predict {statistic!r}; it knows {known}")
    return Policy(name, model, statistic)


def make_environment(config: AbtestConfig, law_dir: Path, table: pl.DataFrame, columns: Columns) -> Environment:
    """The environment that config names; raises ConfigError for an oracle without a law."""
    has_law = (law_dir / "law.json").is_file()
    if config.environment == "oracle" and not has_law:
        raise ConfigError(
            f"abtest.environment: oracle needs the law of generated data, and {law_dir} is not there; "
            "set abtest.environment to model or auto"
        )
    if config.environment == "model" or not has_law:
        # What an arm is judged by is watch time, whatever its models predict.
        return RewardModelEnvironment(table, replace(columns, label="watch_time_s"), seed=config.seed)
    from watchline.data.synthetic.law import Law

    return OracleEnvironment(Law.load(law_dir))


def read_past(table_dir: Path, window: Window, config: AbtestConfig) -> pl.DataFrame:
    """user, video, date and watch time of the days that candidates and CUPED look back on, and of the eval days."""
    first, last = window.ranges["eval"]
    earliest = first - timedelta(days=max(config.pre_period_days, config.catalogue_days))
    days = [day for day in days_on_disk(table_dir) if earliest <= day <= last]
    return read_days(table_dir, days, ["user_id", "video_id", "date", "watch_time_s"])


def join_features(candidates: pl.DataFrame, repo: Path, features_dir: Path) -> pl.DataFrame:
    """Feature columns as of each request's moment, through Feast."""
    from watchline.feature_store.join import historical_features

    return historical_features(repo, features_dir, candidates)


def watch_by_user(users: np.ndarray, exposures: pl.DataFrame) -> np.ndarray:
    """Watch time of each user (U,) in `exposures`, seconds; 0 for a user who is not there."""
    totals = exposures.group_by("user_id").agg(pl.col("watch_time_s").sort().sum())
    joined = pl.DataFrame({"user_id": users}).join(totals, on="user_id", how="left", maintain_order="left")
    return joined["watch_time_s"].fill_null(0.0).to_numpy()


def asked(config: AbtestConfig, window: Window, num_requests: int) -> dict[str, Any]:
    """What was asked of the arms, for metrics.json and the page."""
    first, last = window.ranges["eval"]
    names = ("candidates", "top_k", "retrieval", "catalogue_days", "pre_period_days")
    return {
        "asked": {"requests": num_requests, **{name: getattr(config, name) for name in names}},
        "window": {"eval_first": first.isoformat(), "eval_last": last.isoformat()},
    }


if __name__ == "__main__":
    run_stage(main)
