"""Methods x seeds of one protocol through DVC's experiment queue, and their page, as a Prefect flow.

It is no stage of dvc.yaml: it runs experiments of that DAG, one a seed with all methods in it, and a stage cannot run
the DAG that it is part of; what it measures of cost, seconds, is of a machine, and outputs of stages carry none.

No postponed annotations here: Prefect loads this file by its path and reads the types of the flow's parameters.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.runtime import flow_run

from pipelines.artifacts import name_flow_run, show
from pipelines.collect import collect
from pipelines.experiment_queue import hold_experiments
from pipelines.experiments import clear_dead, enqueue, finished, last_lines, run_queue
from pipelines.leaderboard_config import plan_of, read_config
from pipelines.leaderboard_runs import Experiment, experiments
from pipelines.process import run_lines
from pipelines.settings import LeaderboardSettings
from pipelines.workspace import hold

ROOT = Path(__file__).resolve().parent.parent
RUNS_VARIABLE = "WATCHLINE_RUNS"  # where queued copies of the project keep checkpoints and timings
TARGET = "evaluate"  # what a run goes up to: the A/B test and drift say nothing here


class LeaderboardError(RuntimeError):
    """Not every run of the plan came to its end; the message names them with their last lines."""


@flow(name="leaderboard", log_prints=True)
def leaderboard(settings: LeaderboardSettings = LeaderboardSettings(), root: Path = ROOT) -> Path:  # noqa: B008
    """Run what is missing of a protocol, collect it, and write reports/leaderboard; returns the page.

    Args:
        settings: which protocol, on which log
        root: project folder
    """
    os.environ.setdefault(RUNS_VARIABLE, str(root / "runs"))
    config, data = read_config(root), settings.data or None
    name = config.choose(settings.protocol_or_none, data is not None)
    if name == "generated":
        print("no data given: the leaderboard is of generated data (make leaderboard DATA=PATH for a real log)")
    plan = plan_of(root, config, name, settings.overrides)
    wanted = experiments(root, config, plan, data)
    run = wanted[0].name.rpartition("-")[0]  # without its seed
    name_flow_run(run)
    with hold_experiments(root, run, settings.wait_s, print, str(flow_run.id)):
        run_missing(root, run, wanted, settings.timeout_s, settings.wait_s)
        return publish(root, run, wanted, config.models, plan)


def publish(root: Path, run: str, wanted: list[Experiment], models: list[str], plan: dict[str, Any]) -> Path:
    """The page of all runs of `plan`, and the flow's artifacts; raises LeaderboardError for those that failed."""
    folder = root / "runs/leaderboard" / plan["protocol"]
    plan["failures"] = gather(root, folder, wanted, models)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(plan, indent=2) + "\n", encoding="utf-8")
    page = write_page(root, folder)
    board = json.loads((page.parent / "metrics.json").read_text(encoding="utf-8"))
    lines = [*board["missing"], *board["verdict"], f"runs: `{folder.relative_to(root)}`"]
    show(root, run, lines, "leaderboard/index.html", means(board))
    if plan["failures"]:
        words = "\n".join(f"seed {seed}: " + "\n  ".join(lines) for seed, lines in plan["failures"].items())
        raise LeaderboardError(f"{page} lacks runs that failed; mend and repeat, the others are kept:\n{words}")
    return page


def means(board: dict[str, Any]) -> list[dict[str, object]]:
    """A row a model, best MAE first: means over the seeds to four digits, of the leaderboard's metrics.json."""
    shown = ("mae_s", "xauc")
    return [
        {"model": model, **{key: round(values[key]["mean"], 4) for key in shown if values.get(key)}}
        for model, values in board["models"].items()
    ]


@task(persist_result=False)
def run_missing(root: Path, run: str, wanted: list[Experiment], timeout_s: float, wait_s: float) -> None:
    """Queue the experiments that have not succeeded and run the queue to its end."""
    done = finished(root)
    missing = [each for each in wanted if each.name not in done]
    print(f"{len(wanted) - len(missing)} of {len(wanted)} runs are there, {len(missing)} to do")
    if not missing:
        return
    clear_dead(root)
    # Only now the workspace: queueing stashes params.yaml as composed, while the runs have copies of the project.
    with hold(root, run, wait_s, print):
        for each in missing:
            enqueue(root, each.name, each.overrides, TARGET)
    run_queue(root, print, timeout_s)


@task(persist_result=False)
def gather(root: Path, folder: Path, wanted: list[Experiment], models: list[str]) -> dict[int, list[str]]:
    """Bring what succeeded into `folder`; returns the last lines of every seed that did not succeed."""
    done = finished(root)
    failures = {}
    for each in wanted:
        collect(root, done.get(each.name), each.name, folder / f"seed{each.seed}", models)
        if each.name not in done:
            failures[each.seed] = last_lines(root, each.name)
    return failures


@task(persist_result=False)
def write_page(root: Path, folder: Path) -> Path:
    """Page, CSV and metrics.json in reports/leaderboard; raises LeaderboardError with what the program said."""
    report = root / "reports/leaderboard"
    timings = Path(os.environ[RUNS_VARIABLE]) / "train"
    command = [sys.executable, "-m", "watchline.leaderboard", "--runs", str(folder), "--timings", str(timings)]
    environment = ["env", f"PYTHONPATH={root / 'src'}"]
    done = run_lines([*environment, *command, "--report", str(report)], root, print, 3600.0)
    if done.returncode:
        raise LeaderboardError("\n".join(done.lines[-15:]))
    return report / "index.html"
