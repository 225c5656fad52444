"""The same search for every method on the validation days, as a Prefect flow; what it finds is frozen in conf/.

Features come from DVC (an experiment up to the stage `features`); trials are the train stage's own program on them, for
copies of the project per trial would cost more than the fits.

No postponed annotations here: Prefect loads this file by its path and reads the types of the flow's parameters.
"""

import subprocess
from pathlib import Path
from typing import Any

import yaml
from prefect import flow, task
from prefect.runtime import flow_run

from pipelines.artifacts import name_flow_run, show
from pipelines.experiment_queue import hold_experiments
from pipelines.experiments import clear_dead, enqueue, finished, last_lines, run_queue
from pipelines.leaderboard_config import read_config
from pipelines.leaderboard_runs import code_of, data_override, mark_of
from pipelines.search_config import SearchConfig, read_search
from pipelines.search_results import freeze, summarise
from pipelines.search_trials import Bench, search_method
from pipelines.settings import SearchSettings
from pipelines.workspace import hold

ROOT = Path(__file__).resolve().parent.parent


class SearchError(RuntimeError):
    """The features of the protocol could not be made; the message has the last lines."""


@flow(name="search", log_prints=True)
def search(settings: SearchSettings = SearchSettings(), root: Path = ROOT) -> Path:  # noqa: B008
    """Search the settings of each method, trials of conf/search.yaml each; returns the file of what was found.

    Args:
        settings: which methods, on which protocol and log
        root: project folder
    """
    config, board, data = read_search(root), read_config(root), settings.data or None
    name = board.choose(settings.protocol_or_none or (config.protocol if data else None), data is not None)
    shared = [*board.protocols[name].overrides, *settings.overrides, *data_override(data)]
    spaces = config.model_dump(exclude={"trials", "timeout_s"})  # a larger budget goes on where a smaller one ended
    folder = root / "runs/search" / f"{name}-{mark_of([shared, spaces], data)}"
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
    found, run = folder / "searched.yaml", f"search-{folder.name}"
    name_flow_run(run)
    with hold_experiments(root, run, settings.wait_s, print, str(flow_run.id)):
        bench = Bench(root, folder, features_of(root, folder, shared, settings), shared, commit.stdout.strip())
        for method in settings.models or config.all_methods:
            search_one(bench, config, method)
        record = summarise(bench, config, name)
        found.write_text(yaml.safe_dump(record, sort_keys=False), encoding="utf-8")
        lines = [f"every trial: `{found.relative_to(root)}`"]
        if settings.keep:
            with hold(root, run, settings.wait_s, print):  # a run must not see conf/ change
                frozen = freeze(root, found)
            lines.append(f"frozen as {frozen.relative_to(root)}: commit it, and conf/searched.yaml")
            print(lines[-1])
        show(root, run, lines, None, methods_of(record))
    return found


def methods_of(record: dict[str, Any]) -> list[dict[str, object]]:
    """A row a method: its fits, those that failed, and validation MAE in seconds before and after the search."""
    return [
        {
            "method": method,
            "fits": found["fits"],
            "failed": found["failed"],
            "before_mae_s": found["valid_mae_s"]["before"],
            "after_mae_s": found["valid_mae_s"]["after"],
        }
        for method, found in record["methods"].items()
    ]


@task(persist_result=False, task_run_name="search-{method}")
def search_one(bench: Bench, config: SearchConfig, method: str) -> None:
    """One method's trials."""
    search_method(bench, config, method, print)


@task(persist_result=False)
def features_of(root: Path, folder: Path, overrides: list[str], settings: SearchSettings) -> Path:
    """The protocol's feature tables, made by a DVC experiment and brought into `folder`; raises SearchError."""
    features = folder / f"features-{mark_of([code_of(root)], None)}"
    if features.is_dir():
        return features
    name = f"search-{folder.name}-{features.name}"
    if name not in finished(root):
        clear_dead(root)
        with hold(root, f"search-{folder.name}", settings.wait_s, print):
            enqueue(root, name, overrides, "features")
        run_queue(root, print, settings.timeout_s)
    commit = finished(root).get(name)
    if commit is None:
        raise SearchError("no features to search on:\n" + "\n".join(last_lines(root, name)))
    from dvc.api import DVCFileSystem

    partial = folder / "features.partial"
    folder.mkdir(parents=True, exist_ok=True)
    DVCFileSystem(str(root), rev=commit).get("data/features", str(partial), recursive=True)
    return partial.rename(features)
