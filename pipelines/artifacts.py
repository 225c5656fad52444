"""What a flow run shows of itself: its name, and artifacts, which are what it did in words, tables, and a link.

A run of the line has tables of its stages with their cost, of metrics and of hashes; the other flows have one each.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from pipelines.interruptions import interruptions
from pipelines.record import Identity, lock_hashes
from pipelines.reports_server import reports_url
from pipelines.stage import StageResult

_FIRST = ("mae_s", "rmse_s", "xauc", "gauc", "calibration")  # a table shows no more columns without scrolling


def publish(
    root: Path, identity: Identity, overrides: Sequence[str], results: Sequence[StageResult], outcome: Sequence[str]
) -> None:
    """All artifacts of a run that came as far as `results`; `outcome` has a line for each thing it led to."""
    ran = {each.stage for each in results}
    create_table_artifact(
        key="stages", table=stage_rows(results), description="Rows, seconds and peak memory of each stage"
    )
    if "evaluate" in ran:  # else the file there is of another run
        create_table_artifact(key="metrics", table=model_metrics(root), description="Models on the eval days")
    create_table_artifact(key="hashes", table=lock_hashes(root), description="Every output, as dvc.lock has it")
    again = [
        f"stage {each.stage} was started {each.starts} times; the log says why" for each in results if each.starts > 1
    ]
    told = [*interruptions(root, identity.name), *again, *outcome]
    text = describe_run(identity, overrides, report_pages(root, results), told)
    _show(identity.name, text, f"{reports_url(root)}/index.html" if "report" in ran else None)


def show(
    root: Path, name: str, lines: Sequence[str], page: str | None, table: Sequence[dict[str, object]] = ()
) -> None:
    """Artifacts of a flow run that is not of the line itself: what interrupted it and `lines`, its page, its table.

    `page` is a path within reports/, None where there is none; a table without rows is left out.
    """
    if table:
        create_table_artifact(key="table", table=list(table), description=name)
    text = "\n".join([f"# {name}", "", *(f"- {line}" for line in [*interruptions(root, name), *lines])]) + "\n"
    _show(name, text, page and f"{reports_url(root)}/{page}")


def name_flow_run(name: str) -> None:
    """Give the running flow run a name; it is known only when its parameters are composed."""
    with get_client(sync_client=True) as client:
        client.update_flow_run(flow_run.id, name=name)


def first_line(error: BaseException) -> str:
    """What an error says first; pages show no more."""
    return (str(error).splitlines() or [repr(error)])[0]


@contextlib.contextmanager
def only_said() -> Iterator[None]:
    """Print an error of the block, and no more: artifacts that cannot be made must not hide how a run went."""
    try:
        yield
    except Exception as error:
        print(f"not all artifacts are made: {error!r}")


def _show(name: str, text: str, link: str | None) -> None:
    create_markdown_artifact(key="run", markdown=text, description="What ran, from what, where its result is")
    if link is not None:
        words = f"Reports of {name}"
        create_link_artifact(key="reports", link=link, link_text=words, description="The pages of this run")


def stage_rows(results: Sequence[StageResult]) -> list[dict[str, object]]:
    """A row a stage: how it went, rows, seconds, peak memory in MB (resident), how often it was started."""
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
    """One row a model from reports/evaluate/metrics.json: its scalar metrics to four digits, the telling ones first."""
    values = json.loads((root / "reports/evaluate/metrics.json").read_text(encoding="utf-8"))
    rows: list[dict[str, object]] = []
    for name, metrics in values["models"].items():
        scalars = {key: value for key, value in metrics.items() if isinstance(value, int | float)}
        order = [*(key for key in _FIRST if key in scalars), *(key for key in scalars if key not in _FIRST)]
        rows.append({"model": name, **{key: round(scalars[key], 4) for key in order}})
    return rows


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
    if pages:
        lines += ["", "Pages: " + ", ".join(f"[{stage}]({page})" for stage, page in pages.items())]
    return "\n".join(lines) + "\n"
