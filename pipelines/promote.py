"""The gate as Prefect flows: `promote` judges a candidate and makes it production, `rollback` goes one version back.

No stages of dvc.yaml: they judge a finished run of that DAG, and change what is in git.
No postponed annotations here: Prefect loads this file by its path and reads the types of the flows' parameters.
"""

from pathlib import Path
from typing import Any

import yaml
from prefect import flow, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.runtime import flow_run

from pipelines import comparison, promotion
from pipelines.artifacts import first_line, name_flow_run, show
from pipelines.commands import Workspace
from pipelines.notifications import gate_verdict, tell
from pipelines.promotion import only_one
from pipelines.push import PushError, push_registry
from pipelines.reports_server import reports_url
from pipelines.settings import PromoteSettings, RegistrySettings, RollbackSettings

ROOT = Path(__file__).resolve().parent.parent


@flow(name="promote", log_prints=True)
def promote(settings: PromoteSettings = PromoteSettings(), root: Path = ROOT) -> dict[str, Any]:  # noqa: B008
    """Judge a candidate against production on the same rows, and make it production if it passes; returns the verdict.

    Args:
        settings: which candidate, against what
        root: project folder
    """
    place = Workspace(root, print, settings.timeout_s)
    with only_one(root, f"promote {flow_run.name}", print, str(flow_run.id)):
        arms = compare(place, settings.candidate or None, settings.against, settings.again)
        run = name_of(root, arms["candidate"])
        verdict = judge(place)
        if verdict["status"] == "pass" and not settings.dry_run:
            verdict["version"] = take_over(place, settings.note, settings.commit, settings.push)
        elif verdict["status"] == "info" and settings.commit and not settings.dry_run:
            promotion.commit_registry(place, "Record what is in production")  # of a promotion that was cut off
    if verdict["status"] in ("pass", "info") and not settings.dry_run and (missing := copy(root, settings)):
        verdict["not_pushed"] = missing
    publish(verdict, root)
    if not settings.dry_run:
        tell(gate_verdict(root, run, verdict))
    return verdict


@flow(name="rollback", log_prints=True)
def rollback(settings: RollbackSettings = RollbackSettings(), root: Path = ROOT) -> int:  # noqa: B008
    """Make the version before the present one production again; returns it. Another call goes one further back.

    Args:
        settings: why, whether to commit, and whether to push
        root: project folder
    """
    with only_one(root, f"rollback {flow_run.name}", print):  # never started again: that would go one further back
        version = promotion.roll_back(Workspace(root, print, settings.timeout_s), settings.note, settings.commit)
    name = f"rollback-to-v{version}"
    name_flow_run(name)
    again = "" if settings.commit else "; `registry/` is not committed"
    missing = copy(root, settings)  # not raised: the repeat would go one further back
    lines = [f"v{version} is in production again{again}", *([f"**not pushed**: {missing}"] if missing else [])]
    show(root, name, lines, "promote/history/index.html")
    return version


def copy(root: Path, settings: RegistrySettings) -> str:
    """Bring the registry to the remotes where `settings` say so; what went wrong, '' where nothing did."""
    if not (settings.push and settings.commit):
        return ""
    try:
        push_registry(root)
    except PushError as error:
        print(f"the registry is not pushed: {error}")
        return first_line(error)
    return ""


def name_of(root: Path, candidate: str) -> str:
    """Name of the present run, which it gets; the gate of a `daily` has one already."""
    if flow_run.flow_name == "gate":
        return str(flow_run.name)
    window = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))["window"]
    name = f"promote-{candidate}-{window['end']}"
    name_flow_run(name)
    return name


@task(persist_result=False)
def compare(place: Workspace, candidate: str | None, against: str, again: bool) -> dict[str, Any]:
    """Candidate and reference on the same rows and in the same simulated test; which two they were."""
    comparison.check_fresh(place)
    return comparison.compare(place, candidate, against, again)


@task(persist_result=False)
def judge(place: Workspace) -> dict[str, Any]:
    """The gate's verdict."""
    return comparison.judge(place)


@task(persist_result=False)
def take_over(place: Workspace, note: str, commit: bool, push: bool) -> int:
    """The candidate becomes production."""
    return promotion.take_over(place, note, commit, push)


def publish(verdict: dict[str, Any], root: Path) -> None:
    """The verdict in words, its reasons as a table, and a link to its page."""
    missing = f"\n\n**not pushed**: {verdict['not_pushed']}" if "not_pushed" in verdict else ""
    create_markdown_artifact(key="verdict", markdown=f"**{verdict['status']}** {verdict['text']}{missing}")
    create_table_artifact(key="gate", table=verdict["checks"] or [{"name": "none"}], description=verdict["text"])
    create_link_artifact(key="promotion", link=f"{reports_url(root)}/promote/index.html", link_text="Verdict")
