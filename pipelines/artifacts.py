"""Artifacts of a flow run: stages with their cost, metrics, hashes, what was run, and links to the report pages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from pipelines.interruptions import interruptions
from pipelines.record import Identity, lock_hashes
from pipelines.reports_server import reports_url
from pipelines.stage import StageResult


def publish(
    root: Path, identity: Identity, overrides: Sequence[str], results: Sequence[StageResult], outcome: Sequence[str]
) -> None:
    """All artifacts of a run that came as far as `results`; `outcome` has a line for each thing it led to."""
    create_table_artifact(key="stages", table=stage_rows(results), description=f"Stages of {identity.name}")
    if (root / "reports/evaluate/metrics.json").is_file():
        create_table_artifact(key="metrics", table=model_metrics(root), description="Models on the eval days")
    create_table_artifact(key="hashes", table=lock_hashes(root), description=f"dvc.lock of {identity.name}")
    pages = report_pages(root, results)
    again = [
        f"stage {each.stage} was started {each.starts} times; the log says why" for each in results if each.starts > 1
    ]
    text = describe_run(identity, overrides, pages, [*interruptions(root, identity.name), *again, *outcome])
    create_markdown_artifact(key="run", markdown=text, description=identity.name)
    create_link_artifact(key="reports", link=f"{reports_url(root)}/index.html", link_text=f"Reports of {identity.name}")


def stage_rows(results: Sequence[StageResult]) -> list[dict[str, object]]:
    """A row a stage: how it went, rows, seconds, peak memory in MB, how often it was started."""
    return [
        {
            "stage": each.stage,
            "result": "cached" if each.cached else "ran",
            "rows": each.rows,
            "seconds": round(each.seconds, 1),
            "peak_mb": round(each.peak_bytes / 1e6),
            "starts": each.starts,
        }
        for each in results
    ]


def model_metrics(root: Path) -> list[dict[str, object]]:
    """One row a model from reports/evaluate/metrics.json: its name and its scalar metrics."""
    values = json.loads((root / "reports/evaluate/metrics.json").read_text(encoding="utf-8"))
    return [
        {"model": name, **{key: value for key, value in metrics.items() if isinstance(value, int | float)}}
        for name, metrics in values["models"].items()
    ]


def report_pages(root: Path, results: Sequence[StageResult]) -> dict[str, str]:
    """Stage -> address of its page, of the stages that have one."""
    folders = {each.stage: each.stage.replace("@", "/") for each in results}
    return {
        stage: f"{reports_url(root)}/{folder}/index.html"
        for stage, folder in folders.items()
        if (root / "reports" / folder / "index.html").is_file()
    }


def describe_run(identity: Identity, overrides: Sequence[str], pages: dict[str, str], outcome: Sequence[str]) -> str:
    """The run in Markdown."""
    edited = " with uncommitted changes" if identity.edited else ""
    facts = {
        "window ends": identity.end,
        "experiment": identity.experiment,
        "overrides": " ".join(f"`{each}`" for each in overrides) or "none",
        "git commit": f"`{identity.commit}`{edited}",
        "params.yaml, SHA-256": f"`{identity.params_hash}`",
    }
    lines = [f"# {identity.name}", "", *(f"- {key}: {value}" for key, value in facts.items())]
    lines += [f"- {line}" for line in outcome]
    lines += ["", *(f"- [{stage}]({page})" for stage, page in pages.items())]
    return "\n".join(lines) + "\n"
