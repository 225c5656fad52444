"""A simulated online A/B test: both arms rank the same candidates, an environment answers, statistics judge.

Run by `dvc repro abtest`, or: python -m watchline.stages.abtest --tables data/ingest --features data/features
--repo features --models models --report reports/abtest
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import Field

from watchline.config import Config, ConfigError, load_section
from watchline.data.splits import Window
from watchline.data.tables import days_on_disk, read_days
from watchline.experiment import analysis
from watchline.experiment import statistics as st
from watchline.experiment.assignment import assign
from watchline.experiment.environments import Environment, OracleEnvironment, RewardModelEnvironment
from watchline.experiment.policies import Policy
from watchline.experiment.requests import Retrieval, draw_candidates, draw_requests
from watchline.models import load_model
from watchline.models.base import Columns
from watchline.report import Callout, Facts, Page, Table, Text, Verdict, charts, write_json
from watchline.stages import log, run_stage


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
    salt: str = Field(default="watchline", min_length=1)
    num_threads: int = Field(default=2, ge=1, description="of the reward model; fixed, because sums depend on it")


@dataclass(frozen=True)
class Simulation:
    """One test: N requests, C candidates each, K shown; U users numbered from 0.

    user_N: each request's user; shown: of each arm the rows of the candidate table (N, K); mean_NC: expected watch time
    of every candidate under the environment; answers: of each arm the drawn watch times (N, K) for all requests.
    """

    users: np.ndarray
    user_N: np.ndarray
    shown: dict[str, np.ndarray]
    mean_NC: np.ndarray
    answers: dict[str, np.ndarray]

    def totals(self, arm: str) -> analysis.UserTotals:
        """Per-user totals had every user been in `arm`."""
        return analysis.UserTotals.of(self.answers[arm], self.user_N, len(self.users))

    def expected(self, arm: str) -> np.ndarray:
        """Expected watch time (N, K) of what `arm` shows."""
        return self.mean_NC.ravel()[self.shown[arm]]


def main(argv: list[str] | None = None) -> None:
    """Simulate, analyse, write metrics.json and the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("tables", "features", "repo", "models", "report"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    paths = parser.parse_args(argv)
    config = load_section(AbtestConfig, "abtest")
    window = load_section(Window, "window")
    arms = {arm: load_arm(config, arm, paths.models) for arm in ("control", "treatment")}
    columns = Columns.read(paths.features / "schema.json")
    table = read_days(paths.features / "table", window.split_days("eval"))
    environment = make_environment(config, paths.tables / "law", table, columns)
    log(f"environment: {environment.name}; {len(table):,} exposures on the eval days")

    past = read_past(paths.features / "table", window, config)
    requests = draw_requests(table, config.requests, config.seed)
    candidates = join_features(ask(requests, past, config), paths.repo, paths.features)
    log(f"{len(requests):,} requests with {config.candidates} candidates each")
    simulation = simulate(candidates, requests, arms, environment, config)
    result, page = analyse(simulation, past, environment, window, config)
    write_json(paths.report / "metrics.json", result)
    page.write(paths.report / "index.html")
    log(result["verdict"]["text"])


# -- the simulation ---------------------------------------------------------------------------------------------------


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
        raise ConfigError(
            f"abtest.{arm}_statistic: model {name!r} cannot predict {statistic!r}; it knows {', '.join(model.statistics)}"
        )
    return Policy(name, model, statistic)


def make_environment(config: AbtestConfig, law_dir: Path, table: pl.DataFrame, columns: Columns) -> Environment:
    """The environment that config names; raises ConfigError for an oracle without a law."""
    has_law = (law_dir / "law.json").is_file()
    if config.environment == "oracle" and not has_law:
        raise ConfigError(
            f"abtest.environment: oracle needs the law of generated data, and there is no {law_dir}; take `model` or `auto`"
        )
    if config.environment == "model" or not has_law:
        return RewardModelEnvironment(table, columns, seed=config.seed, num_threads=config.num_threads)
    from watchline.data.synthetic.law import Law

    return OracleEnvironment(Law.load(law_dir))


def read_past(table_dir: Path, window: Window, config: AbtestConfig) -> pl.DataFrame:
    """user_id, video_id, date and watch_time_s of the days that candidates and CUPED look back on, eval days included."""
    first, last = window.ranges["eval"]
    earliest = first - timedelta(days=max(config.pre_period_days, config.catalogue_days))
    days = [day for day in days_on_disk(table_dir) if earliest <= day <= last]
    return read_days(table_dir, days, ["user_id", "video_id", "date", "watch_time_s"])


def ask(requests: pl.DataFrame, past: pl.DataFrame, config: AbtestConfig) -> pl.DataFrame:
    """The candidate table of the requests."""
    return draw_candidates(
        requests, past, config.candidates, config.retrieval, config.catalogue_days, config.seed
    ).drop("date")


def join_features(candidates: pl.DataFrame, repo: Path, features_dir: Path) -> pl.DataFrame:
    """Feature columns as of each request's moment, through Feast."""
    from watchline.feature_store.join import historical_features

    return historical_features(repo, features_dir, candidates)


def simulate(
    candidates: pl.DataFrame,
    requests: pl.DataFrame,
    arms: dict[str, Policy],
    environment: Environment,
    config: AbtestConfig,
) -> Simulation:
    """Both arms rank all requests, so that truth, A/A and headroom come from the same run as the test."""
    num_requests = len(requests)
    shown, answers = {}, {}
    for stream, (arm, policy) in enumerate(arms.items(), start=3):
        shown[arm] = policy.show(candidates, num_requests, config.top_k)
        log(f"{arm}: {policy.name} ranked {len(candidates):,} candidates by {policy.statistic}")
        generator = np.random.default_rng([config.seed, stream])
        answered = environment.sample(candidates[shown[arm].ravel()], generator)
        answers[arm] = answered.reshape(shown[arm].shape)
    users, user_N = np.unique(requests["user_id"].to_numpy(), return_inverse=True)
    mean_NC = environment.mean_watch_time_s(candidates).reshape(num_requests, -1)
    return Simulation(users, user_N, shown, mean_NC, answers)


# -- the analysis -----------------------------------------------------------------------------------------------------


def analyse(
    simulation: Simulation, past: pl.DataFrame, environment: Environment, window: Window, config: AbtestConfig
) -> tuple[dict[str, Any], Page]:
    """metrics.json and the page."""
    first, last = window.ranges["eval"]
    control, treatment = simulation.totals("control"), simulation.totals("treatment")
    in_treatment = assign(simulation.users, config.salt, _shares(config)) == 1
    pre_watch_s = pre_period_watch_s(simulation.users, past.filter(pl.col("date") < first))
    found = analysis.compare_arms(treatment, control, in_treatment, pre_watch_s, config.treatment_share)
    in_second = assign(simulation.users, f"{config.salt}-aa", _shares(config)) == 1
    same = analysis.compare_arms(control, control, in_second, pre_watch_s, config.treatment_share)
    false_positives = st.check_false_positives(control.watch_s, splits(simulation.users, config))
    status, text = analysis.decide(found, config.treatment, config.control)
    result: dict[str, Any] = {
        "environment": environment.name,
        "arms": arms_json(simulation, in_treatment, config, found),
        "metric": "watch time per user",
        **_estimate(found.watch_per_user.lift, "lift"),
        "difference_s": _estimate(found.watch_per_user.difference, "value"),
        "srm_p": found.sample_ratio.p_value,
        "cuped": {
            **_estimate(found.watch_per_user_cuped.lift, "lift"),
            "theta": found.cuped.theta,
            "rho": found.cuped.rho,
            "variance_reduction": found.cuped.variance_reduction,
        },
        "per_exposure": _estimate(found.watch_per_exposure.lift, "lift"),
        "skips": _estimate(found.skips_per_exposure.lift, "lift"),
        "aa": {**_estimate(same.watch_per_user.lift, "lift"), "srm_p": same.sample_ratio.p_value},
        "false_positives": vars(false_positives),
        "minimum_detectable_lift": detectable_lift(control.watch_s, in_treatment, found.cuped.rho),
        "expected_s_per_exposure": analysis.headroom(simulation.mean_NC, simulation.shown, config.top_k),
        "requests": len(simulation.user_N),
        "candidates": config.candidates,
        "top_k": config.top_k,
        "window": {"eval_first": first.isoformat(), "eval_last": last.isoformat()},
        "verdict": {"status": status, "text": text},
    }
    expected = analysis.expected_lift(simulation.expected("treatment"), simulation.expected("control"))
    if environment.is_truth:
        result["true_lift"] = expected
    else:
        result["expected_lift"] = expected
        result["reward_model"] = getattr(environment, "fit_quality", {})
    return result, build_page(result, found, same, config)


def _shares(config: AbtestConfig) -> list[float]:
    return [1 - config.treatment_share, config.treatment_share]


def pre_period_watch_s(users: np.ndarray, before: pl.DataFrame) -> np.ndarray:
    """Watch time of each user (U,) in `before`, seconds; 0 for a user who was not there."""
    totals = before.group_by("user_id").agg(pl.col("watch_time_s").sort().sum().alias("watch_s"))
    joined = pl.DataFrame({"user_id": users}).join(totals, on="user_id", how="left", maintain_order="left")
    return joined["watch_s"].fill_null(0.0).to_numpy()


def splits(users: np.ndarray, config: AbtestConfig) -> np.ndarray:
    """A/A splits (R, U), each by a salt of its own."""
    runs = range(config.false_positive_runs)
    return np.stack([assign(users, f"{config.salt}-aa-{run}", _shares(config)) == 1 for run in runs])


def detectable_lift(watch_s: np.ndarray, in_treatment: np.ndarray, rho: float) -> dict[str, float | None]:
    """Smallest lift found with a power of 80 %, without and with CUPED, from the control's spread."""
    if not watch_s.mean():
        return {"welch": None, "cuped": None}
    deviation = float(watch_s.std(ddof=1))
    num_treatment, num_control = int(in_treatment.sum()), int((~in_treatment).sum())
    plain = st.minimum_detectable_effect(deviation, num_treatment, num_control) / float(watch_s.mean())
    return {"welch": plain, "cuped": plain * math.sqrt(1 - rho**2)}


def arms_json(
    simulation: Simulation, in_treatment: np.ndarray, config: AbtestConfig, found: analysis.Result
) -> dict[str, dict[str, Any]]:
    """Model, statistic, users, exposures and means of each arm."""
    arms = {}
    for arm, members in (("control", ~in_treatment), ("treatment", in_treatment)):
        requests = int(members[simulation.user_N].sum())
        arms[arm] = {
            "model": getattr(config, arm),
            "statistic": getattr(config, f"{arm}_statistic"),
            "users": int(members.sum()),
            "requests": requests,
            "exposures": requests * config.top_k,
            "watch_per_user_s": getattr(found.watch_per_user, arm),
            "watch_per_exposure_s": getattr(found.watch_per_exposure, arm),
            "skips_per_exposure": getattr(found.skips_per_exposure, arm),
        }
    return arms


def _estimate(estimate: st.Estimate | None, name: str) -> dict[str, Any]:
    """A dict of an estimate; a bound that the data cannot give is null."""
    values = vars(estimate) if estimate else dict.fromkeys(("value", "low", "high", "p_value"), math.nan)
    plain = {key: value if math.isfinite(value) else None for key, value in values.items()}
    return {
        name: plain["value"],
        "interval": {"low": plain["low"], "high": plain["high"]},
        "p_value": plain["p_value"],
    }


# -- page -------------------------------------------------------------------------------------------------------------

ENVIRONMENT_TEXT = {
    "oracle": "The oracle environment: answers are drawn from the law that generated the data, so the true lift of the two "
    "policies on these requests is known exactly and shown beside the estimates.",
    "model": "The reward-model environment: answers come from a model of watch time, not from users. It was fitted on the "
    "eval days, which no arm was trained on (the means on half of the users, the spread and the calibration on the other "
    "half). It knows no more than the features do, it learned from videos that another policy chose to show, and it is "
    "a tree ensemble on the same features as the LightGBM arm, which it may favour. Read the lift as a plausibility "
    "check, not as a forecast.",
}


def build_page(result: dict[str, Any], found: analysis.Result, same: analysis.Result, config: AbtestConfig) -> Page:
    """The page of the stage."""
    lead = (
        f"{config.treatment} (by {_words(config.treatment_statistic)}) against {config.control} (by "
        f"{_words(config.control_statistic)}), {result['requests']:,} requests of {result['window']['eval_first']} to "
        f"{result['window']['eval_last']}."
    )
    page = Page("abtest", "Simulated A/B test", lead, Verdict(**result["verdict"]))
    is_oracle = result["environment"] == "oracle"
    page.section("Environment", Callout("info" if is_oracle else "warn", ENVIRONMENT_TEXT[result["environment"]]))
    add_result(page, result, found)
    add_checks(page, result, same)
    page.section("Arms", arms_table(result))
    page.section(
        "Room to gain",
        charts.bar_chart(
            [_arm_name(name, config) for name in result["expected_s_per_exposure"]],
            list(result["expected_s_per_exposure"].values()),
            "expected watch time per exposure, s",
            "What each policy shows",
        ),
        note="Expected watch time under the environment of what is shown: by chance, by each arm for all requests, and by "
        "a policy that knows the environment.",
    )
    if not is_oracle:
        page.section(
            "Reward model", Facts(result["reward_model"]), note="On the half of the users it was not fitted on."
        )
    page.section("How it was run", Text(METHOD.format(**vars(config))))
    return page


METHOD = (
    "Requests are exposures of the eval days, drawn without replacement, of which user, time and surface are kept. The "
    "{candidates} candidates of a request are drawn ({retrieval}) from the videos shown on the {catalogue_days} days before "
    "its day, with features as of its moment. An arm shows its best {top_k}. Users are assigned by a hash of id and salt.\n\n"
    "Intervals are 95 %: Welch for differences, Fieller for lifts, so that a lift's interval holds 0 exactly when the "
    "p-value is above 0.05; per exposure by the delta method. CUPED adjusts by the watch time of the {pre_period_days} days "
    "before. Every user has one value: exposures of one user are not independent."
)


def add_result(page: Page, result: dict[str, Any], found: analysis.Result) -> None:
    """The estimates of the test, as a table and a chart."""
    named = {
        "watch time per user, s (primary)": found.watch_per_user,
        "the same with CUPED, s": found.watch_per_user_cuped,
        "watch time per exposure, s": found.watch_per_exposure,
        "skips (under 1 s) per exposure": found.skips_per_exposure,
    }
    rows = []
    for name, comparison in named.items():
        lift = _estimate(comparison.lift, "value")
        rows.append(
            [name, comparison.control, comparison.treatment, lift["value"], *lift["interval"].values(), lift["p_value"]]
        )
    columns = ["metric", "control", "treatment", "lift", "low", "high", "p-value"]
    percent = dict.fromkeys(["lift", "low", "high"], "+.2%")
    table = Table(columns, rows, formats={"control": ".3f", "treatment": ".3f", "p-value": ".4f", **percent})
    marks = [(row[0].removesuffix(" (primary)"), row[3], row[4], row[5]) for row in rows[:3]]
    if "true_lift" in result:
        marks.append(("true lift", *[result["true_lift"]] * 3))
        page.section("True lift", Facts({"true lift": result["true_lift"]}, formats={"true lift": "+.2%"}))
    marks = [mark for mark in marks if None not in mark]
    labels, *numbers = zip(*marks) if marks else ((), (), (), ())
    percents = [[100 * number for number in column] for column in numbers]
    figure = charts.interval_chart(list(labels), *percents, x_label="lift over control, %", title="Lift of watch time")
    page.section("Result", table, figure, note="Lift: treatment over control, minus 1.")


def add_checks(page: Page, result: dict[str, Any], same: analysis.Result) -> None:
    """Sample ratio, A/A, false positives, power."""
    aa, rate = result["aa"], result["false_positives"]
    aa_clean = aa["p_value"] is None or aa["p_value"] >= st.ALPHA
    rate_fits = rate["low"] <= rate["rate"] <= rate["high"]
    mde = result["minimum_detectable_lift"]
    lift = same.watch_per_user.lift
    span = (
        f"{lift.value:+.2%} ({lift.low:+.2%} to {lift.high:+.2%}), p = {lift.p_value:.3f}" if lift else "no watch time"
    )
    rows: list[list[Any]] = [
        [
            "sample ratio",
            _badge(result["srm_p"] >= st.SRM_ALARM, "as planned", "mismatch"),
            f"p = {result['srm_p']:.4f}; alarm below {st.SRM_ALARM}",
        ],
        ["A/A: control against itself", _badge(aa_clean, "no lift", "a lift where there is none"), span],
        [
            "false positives of A/A splits",
            _badge(rate_fits, "at the level", "off the level"),
            f"{rate['rate']:.1%} of {rate['runs']} splits; {rate['low']:.1%} to {rate['high']:.1%} expected at 5 %",
        ],
    ]
    if mde["welch"] is not None:
        text = f"{mde['welch']:.1%}; with CUPED {mde['cuped']:.1%} (correlation {result['cuped']['rho']:.2f})"
        rows.append(["smallest lift found with 80 % power", Verdict("info", "power"), text])
    page.section("Checks", Table(["check", "verdict", "finding"], rows))


def _badge(good: bool, yes: str, no: str) -> Verdict:
    return Verdict("pass", yes) if good else Verdict("warn", no)


def arms_table(result: dict[str, Any]) -> Table:
    """A row per arm."""
    keys = ["model", "statistic", "users", "requests", "exposures"]
    keys += ["watch_per_user_s", "watch_per_exposure_s", "skips_per_exposure"]
    columns = ["arm", *(_words(key) for key in keys)]
    rows = [[arm, *(values[key] for key in keys)] for arm, values in result["arms"].items()]
    return Table(columns, rows, formats={column: ".3f" for column in columns[-3:]})


def _arm_name(name: str, config: AbtestConfig) -> str:
    return {"control": config.control, "treatment": config.treatment}.get(name, name)


def _words(name: str) -> str:
    return name.replace("_", " ")


if __name__ == "__main__":
    run_stage(main)
