"""A simulated online A/B test: both arms rank the same candidates, an environment answers, statistics judge.

Run by `dvc repro abtest`, or: python -m watchline.stages.abtest --tables data/ingest --features data/features
--repo features --models models --predictions data/evaluate --report reports/abtest
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, ValidationInfo, field_validator, model_validator

from watchline.config import Config, ConfigError, load_section, parse
from watchline.data.columns import Columns
from watchline.data.splits import Window
from watchline.data.tables import days_on_disk, read_days, read_parquet, read_split
from watchline.experiment.environments import (
    Environment,
    MatrixEnvironment,
    OracleEnvironment,
    ReplayEnvironment,
    RewardModelEnvironment,
)
from watchline.experiment.group_model import POINTS
from watchline.experiment.page import build_page
from watchline.experiment.patience import Patience
from watchline.experiment.policies import Policy, statistics_of
from watchline.experiment.processes import simulate
from watchline.experiment.remembering import RememberingModel
from watchline.experiment.replay_page import build_replay_page
from watchline.experiment.replay_summary import summarise_replay
from watchline.experiment.requests import (
    Catalogue,
    Known,
    Retrieval,
    catalogues_of,
    draw_candidates,
    draw_requests,
)
from watchline.experiment.simulation import World
from watchline.experiment.statistics import GUARDRAILS
from watchline.experiment.summary import Plan, summarise
from watchline.experiment.sweep import Sweep, measure_sweep, plan_sweep
from watchline.models import load_model
from watchline.report import write_json
from watchline.report.page import Page
from watchline.stages import log, run_stage
from watchline.training.seeding import seed_everything

PRIOR = 10.0  # exposures that everyone's count for in what a user expects


class ArmConfig(Config):
    """One arm: a trained model, what it ranks by, and how it explores."""

    model: str
    statistic: str = "mean"
    epsilon: float = Field(default=0.0, ge=0, le=1, description="chance that a place is given to any candidate alike")
    temperature: float = Field(default=0.0, ge=0, description="of a softmax over scores, in the statistic's unit")

    @model_validator(mode="after")
    def _explores_one_way(self) -> Self:
        if self.epsilon and self.temperature:
            raise ValueError("epsilon and temperature exclude each other; set one of them to 0")
        return self


class AbtestConfig(Config):
    """Section `abtest` of params.yaml."""

    environment: Literal["auto", "oracle", "matrix", "replay", "model"] = "auto"
    control: str = "lightgbm"
    treatment: str = "gr_finetuned"
    control_statistic: str = "mean"
    treatment_statistic: str = "mean"
    treatment_epsilon: float = Field(default=0.0, ge=0, le=1)
    treatment_temperature: float = Field(default=0.0, ge=0)
    treatments: list[ArmConfig] = Field(default=[], description="more arms, which share the treatments' users")
    treatment_share: float = Field(default=0.5, gt=0, lt=1, description="share of the users, of all treatments")
    requests: int = Field(default=6000, ge=10, description="drawn from the exposures of the eval days")
    retrieval: Retrieval = "popular"
    catalogue_days: int = Field(default=3, ge=1, description="days before a request whose videos may be candidates")
    candidates: int = Field(default=20, ge=2, le=1000)
    top_k: int = Field(default=4, ge=1, description="exposures of a page")
    pages: int = Field(default=3, ge=1, description="of a session at most")
    patience: Patience = Patience()
    pre_period_days: int = Field(default=7, ge=1, description="days before the eval days, for CUPED and expectations")
    false_positive_runs: int = Field(default=200, ge=10, le=10_000, description="A/A splits")
    expectation_runs: int = Field(default=8, ge=2, le=1000, description="of every session, for the expected lift")
    smallest_lift: float = Field(default=0.02, gt=0, description="relative lift that matters, for power before the run")
    sweep_runs: int = Field(default=2, ge=0, le=1000, description="the same for each model of the sweep; 0: no sweep")
    margins: dict[str, float] = Field(default={}, description="guardrail -> relative loss that is accepted")
    seed: int = Field(default=1, ge=0)
    processes: int = Field(default=1, ge=1, description="no part of the result")
    num_threads: int = Field(default=2, ge=1, description="of each process; sums depend on how work is split")
    salt: str = Field(default="watchline", min_length=1)

    @field_validator("top_k")
    @classmethod
    def _within_candidates(cls, top_k: int, info: ValidationInfo) -> int:
        if top_k > info.data.get("candidates", top_k):
            raise ValueError(f"must be at most abtest.candidates, {info.data['candidates']}")
        return top_k

    @field_validator("pages")
    @classmethod
    def _pages_within_candidates(cls, pages: int, info: ValidationInfo) -> int:
        size, top_k = info.data.get("candidates"), info.data.get("top_k")
        if size and top_k and pages * top_k > size:
            raise ValueError(f"pages of {top_k} take more than the {size} of abtest.candidates")
        return pages

    @field_validator("margins")
    @classmethod
    def _known_guardrails(cls, margins: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(margins) - set(GUARDRAILS))
        if unknown or not all(margin > 0 for margin in margins.values()):
            raise ValueError(f"takes margins above 0 of {', '.join(GUARDRAILS)}")
        return margins

    @property
    def arms(self) -> dict[str, tuple[str, ArmConfig]]:
        """Arms in order, the control first: name -> the parameter that names its model, and the arm."""
        control = ArmConfig(model=self.control, statistic=self.control_statistic)
        treatment = parse(
            ArmConfig,
            {
                "model": self.treatment,
                "statistic": self.treatment_statistic,
                "epsilon": self.treatment_epsilon,
                "temperature": self.treatment_temperature,
            },
            "abtest.treatment",
        )
        more = {f"treatment_{i + 2}": (f"treatments.{i}.model", arm) for i, arm in enumerate(self.treatments)}
        return {"control": ("control", control), "treatment": ("treatment", treatment), **more}


def main(argv: list[str] | None = None) -> None:
    """Simulate, analyse, write metrics.json and the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("tables", "features", "repo", "models", "predictions", "report"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    paths = parser.parse_args(argv)
    config = load_section(AbtestConfig, "abtest")
    window = load_section(Window, "window")
    seed_everything(config.seed, config.num_threads)
    arms = {arm: load_arm(config, arm, paths.models) for arm in config.arms}
    columns = Columns.read(paths.features / "schema.json")
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
    first = window.ranges["eval"][0]
    before = past.filter(
        pl.col("date").is_between(first - timedelta(days=config.pre_period_days), first, closed="left")
    )
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


def load_arm(config: AbtestConfig, arm: str, models_dir: Path) -> Policy:
    """The policy of an arm; raises ConfigError naming the parameter when it cannot be had."""
    parameter, asked_for = config.arms[arm]
    name, statistic = asked_for.model, asked_for.statistic
    if not (models_dir / name / "model.json").is_file():
        there = sorted(path.parent.name for path in models_dir.glob("*/model.json"))
        raise ConfigError(
            f"abtest.{parameter}: {models_dir / name} is not a trained model; add {name!r} to `models`, or set "
            f"abtest.{parameter} to one of: {', '.join(there) or 'none there yet'}"
        )
    model = load_model(models_dir / name)
    if statistic not in statistics_of(model):
        known = ", ".join(statistics_of(model))
        parameter = parameter.replace(".model", ".statistic") if "." in parameter else f"{parameter}_statistic"
        raise ConfigError(f"abtest.{parameter}: model {name!r} cannot predict {statistic!r}; it knows {known}")
    return Policy(name, model, statistic, asked_for.epsilon, asked_for.temperature)


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


def make_sweep(
    config: AbtestConfig, models_dir: Path, predictions_dir: Path, table_dir: Path, window: Window, columns: Columns
) -> Sweep:
    """Every model that evaluate predicted with, and the damaged ones of the control; none for no runs.

    Raises ConfigError when the control is not among them.
    """
    if not config.sweep_runs:
        return Sweep({}, config.control)
    names = sorted(path.stem for path in predictions_dir.glob("*.parquet"))
    if config.control not in names:
        raise ConfigError(
            f"abtest.control: {predictions_dir} has no predictions of {config.control!r}; add it to `models`, or set "
            f"abtest.control to one of: {', '.join(names) or 'none there yet'}"
        )
    trained = {name: RememberingModel(load_model(models_dir / name)) for name in names}
    there = ["video_id", "surface", columns.label, *["duration_s"] * ("duration_s" in columns.numeric)]
    train = read_split(table_dir, window, "train", there)
    return plan_sweep(trained, config.control, config.control_statistic, train, columns.label)


def with_memory(policy: Policy, sweep: Sweep) -> Policy:
    """The arm's policy on the model that the sweep has too, which is asked once for both."""
    entry = sweep.entries.get(policy.name)
    return replace(policy, model=entry.policy.model) if entry and policy.statistic in POINTS else policy


def remember_predictions(sweep: Sweep, predictions_dir: Path, table: pl.DataFrame) -> None:
    """Give each trained model what evaluate predicted for the rows of `table`; raises ValueError naming a file without.

    The models damaged from it take them from there.
    """
    for name, entry in sweep.entries.items():
        model = entry.policy.model
        if not isinstance(model, RememberingModel):
            continue
        path = predictions_dir / f"{name}.parquet"
        predicted = read_parquet(path, ["exposure_id", *POINTS])
        found = table.select("exposure_id").join(predicted, on="exposure_id", how="left", maintain_order="left")
        if missing := found["mean"].null_count():
            raise ValueError(f"{path}: no prediction for {missing} of {len(table)} eval rows; `dvc repro evaluate`")
        model.remember(table, {point: found[point].to_numpy() for point in POINTS})


def prepare_candidates(
    requests: pl.DataFrame,
    generator: np.random.Generator,
    *,
    catalogues: dict[date, Catalogue],
    size: int,
    known: Known,
    join: Callable[[pl.DataFrame], pl.DataFrame],
) -> pl.DataFrame:
    """Candidates of some requests with their features."""
    return join(draw_candidates(requests, catalogues, size, known, generator))


def read_past(table_dir: Path, window: Window, config: AbtestConfig) -> pl.DataFrame:
    """user, video, date and watch time of the days that candidates and CUPED look back on, and of the eval days."""
    first, last = window.ranges["eval"]
    earliest = first - timedelta(days=max(config.pre_period_days, config.catalogue_days))
    days = [day for day in days_on_disk(table_dir) if earliest <= day <= last]
    return read_days(table_dir, days, ["user_id", "video_id", "date", "watch_time_s"])


def join_features(candidates: pl.DataFrame, repo: Path, features_dir: Path) -> pl.DataFrame:
    """Feature columns as of each request's moment, through Feast's historical join.

    It is what the online store would have answered: batch features are daily snapshots of what ended before their day
    began, the online store of a day is filled from that same day's snapshots, and both go through the same feature
    service (the features stage compares the two value by value and reports the parity). The store itself holds one
    moment, its last, and would have to be filled anew for every day; the join answers for every moment at once.
    """
    from watchline.feature_store.join import historical_features

    return historical_features(repo, features_dir, candidates)


def expected_watch_s(user_id: np.ndarray, exposures: pl.DataFrame) -> np.ndarray:
    """What each user (N,) expects of an exposure, seconds: a typical one of earlier `exposures`, drawn to everyone's.

    expm1 of (sum of the user's log1p + PRIOR * mean of all) / (their number + PRIOR), so that half of what users watch
    is about as long as they expect; a user who was not there expects what all do.
    """
    logs = exposures.select("user_id", pl.col("watch_time_s").log1p())
    overall = float(logs["watch_time_s"].sort().to_numpy().mean()) if len(logs) else 0.0
    sums = logs.group_by("user_id").agg(pl.col("watch_time_s").sort().sum().alias("total"), pl.len())
    known = pl.DataFrame({"user_id": user_id}).join(sums, on="user_id", how="left", maintain_order="left")
    total, count = (known[name].fill_null(0).to_numpy() for name in ("total", "len"))
    return np.expm1((total + PRIOR * overall) / (count + PRIOR))


def watch_by_user(users: np.ndarray, exposures: pl.DataFrame) -> np.ndarray:
    """Watch time of each user (U,) in `exposures`, seconds; 0 for a user who is not there."""
    totals = exposures.group_by("user_id").agg(pl.col("watch_time_s").sort().sum())
    joined = pl.DataFrame({"user_id": users}).join(totals, on="user_id", how="left", maintain_order="left")
    return joined["watch_time_s"].fill_null(0.0).to_numpy()


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
