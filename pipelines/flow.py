"""The line as a Prefect flow: compose params, then every stage of dvc.yaml as a task, then artifacts.

No postponed annotations here: Prefect loads this file by its path and reads the types of the flow's parameters.
"""

import json
import os
from pathlib import Path

from prefect import flow
from prefect.artifacts import create_link_artifact, create_table_artifact

from pipelines.dag import stages_in_order
from pipelines.params import compose_params
from pipelines.stage import StageResult, reproduce

ROOT = Path(__file__).resolve().parent.parent
STAGE_TIMEOUT_S = 6 * 3600.0
# Where the reports are served (`make ui` sets it); without a server the link opens the file.
REPORTS_URL = "WATCHLINE_REPORTS_URL"


@flow(name="watchline", log_prints=True)
def watchline(
    overrides: list[str] | None = None, root: Path = ROOT, stage_timeout_s: float = STAGE_TIMEOUT_S
) -> list[StageResult]:
    """Run the whole line in one workspace; a stage that DVC has cached is done at once.

    Args:
        overrides: Hydra overrides, for example train.gr.width=128 or ingest=kuairand
        root: project folder
        stage_timeout_s: limit for one stage, seconds
    """
    compose_params(root, overrides or [])
    results = []
    for stage in stages_in_order(root):
        run = reproduce.with_options(name=stage, task_run_name=stage)
        results.append(run(stage, root, stage_timeout_s))
    publish(results, root)
    return results


def publish(results: list[StageResult], root: Path) -> None:
    """Table artifacts of stages and metrics, and a link to the index page."""
    create_table_artifact(
        key="stages",
        table=[
            {"stage": r.stage, "result": "cached" if r.cached else "ran", "seconds": round(r.seconds, 1)}
            for r in results
        ],
        description="Stages of this run",
    )
    create_table_artifact(key="metrics", table=model_metrics(root), description="Models on the eval days")
    index = os.environ.get(REPORTS_URL) or (root / "reports").as_uri()
    create_link_artifact(key="reports", link=f"{index}/index.html", link_text="Reports of this run")


def model_metrics(root: Path) -> list[dict[str, object]]:
    """One row a model from reports/evaluate/metrics.json: its name and its scalar metrics."""
    values = json.loads((root / "reports/evaluate/metrics.json").read_text())
    return [
        {"model": name, **{key: value for key, value in metrics.items() if isinstance(value, int | float)}}
        for name, metrics in values["models"].items()
    ]
