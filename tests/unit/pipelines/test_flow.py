"""A run of whatever dvc.yaml says, on a small project of its own, with real DVC and a real Prefect API."""

import subprocess
import threading
from pathlib import Path

import pytest

from pipelines.dag import stages_in_order
from pipelines.experiments import finished
from pipelines.git_command import git
from pipelines.settings import RunSettings
from tests.helpers.daily_project import git_status, make_project

STAGES = ["ingest", "train@gr", "evaluate", "report"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "where").mkdir()
    monkeypatch.setenv("WHERE", str(tmp_path / "where"))
    return make_project(tmp_path / "project", "2024-03-01")


def ran(project: Path) -> list[str]:
    return [line.split()[0] for line in (project.parent / "where/ran").read_text().splitlines()]


def answers(kind: str, **filters):
    """What the Prefect API has of a kind, newest first."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return getattr(client, f"read_{kind}")(**filters)


def artifacts_of(flow_run) -> dict:
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    only = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run.id]))
    return {artifact.key: artifact for artifact in answers("artifacts", artifact_filter=only)}


def newest_run():
    from prefect.client.schemas.sorting import FlowRunSort

    return answers("flow_runs", sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1)[0]


def test_order_follows_dependencies_and_a_target_leaves_out_what_comes_after(project):
    written = (project / "dvc.yaml").read_text()
    first, report = written.split("  report:")
    (project / "dvc.yaml").write_text(first.replace("stages:", f"stages:\n  report:{report}"))
    assert list(stages_in_order(project)) == STAGES
    assert stages_in_order(project, "train") == {"ingest": True, "train@gr": True}
    subprocess.run(["dvc", "add", "-q", "raw"], cwd=project, check=True)
    assert stages_in_order(project, "train") == {"ingest": False, "train@gr": True}
    with pytest.raises(ValueError, match="no stage 'drift'; there are report, ingest"):
        stages_in_order(project, "drift")


def test_a_run_is_named_shown_and_recorded_and_a_second_finds_all_cached(project, prefect_api):
    from pipelines.flow import run

    settings = RunSettings(overrides=["train.scale=2"])
    first = run(settings, project)
    assert [each.stage for each in first] == STAGES and not any(each.cached for each in first)
    assert first[0].rows == 1 and all(each.peak_bytes > 1e6 for each in first)
    assert all(each.cached for each in run(settings, project)) and ran(project) == [
        "ingest",
        "train",
        "evaluate",
        "report",
    ]
    assert git_status(project) == ""

    flow_run = newest_run()
    assert flow_run.name.startswith("run-2024-03-01-default-")
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    tasks = answers("task_runs", flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id])))
    assert {task.name: task.state.name for task in tasks} == dict.fromkeys(STAGES, "Cached")
    found = artifacts_of(flow_run)
    assert set(found) == {"stages", "metrics", "hashes", "run", "reports"}
    assert '"rows": 1' in found["stages"].data and '"result": "cached"' in found["stages"].data
    head = git(project, "rev-parse", "HEAD").strip()
    assert head in found["run"].data and "`train.scale=2`" in found["run"].data
    assert "models/gr" in found["hashes"].data

    assert "scale: 2" in git(project, "show", f"{finished(project)[flow_run.name]}:params.yaml")
    log = (project / f"runs/logs/{flow_run.name}.log").read_text()
    assert log.count("Running stage 'ingest':") == 1 and f"{flow_run.name}: commit {head}" in log


def test_a_failing_stage_ends_the_run_with_its_last_lines_and_is_not_repeated(project, prefect_api):
    from pipelines.flow import run
    from pipelines.stage import StageError

    (project.parent / "where/broken").touch()
    stale = project / "reports/evaluate/metrics.json"  # of another run: neither it nor that run's index is shown
    stale.parent.mkdir(parents=True)
    stale.write_text('{"models": {"gr": {"mae_s": 1.5}}}')
    (project / "reports/index.html").touch()
    with pytest.raises(StageError, match=r"(?s)stage train@gr failed.*no such luck"):
        run(RunSettings(), project)
    assert ran(project) == ["ingest", "train"] and git_status(project) == ""
    found = artifacts_of(newest_run())
    assert "**failed**: stage train@gr failed" in found["run"].data
    assert set(found) - {None} == {"stages", "hashes", "run"}  # the one without a key is the failed task's own


def test_artifacts_that_cannot_be_made_do_not_hide_why_a_run_failed(project, prefect_api):
    from pipelines.artifacts import first_line
    from pipelines.flow import run
    from pipelines.stage import StageError

    spoil = "cmd: 'echo \"stages: {ingest: {outs: [{}]}}\" > dvc.lock; echo no such luck; exit 1'"
    text = (project / "dvc.yaml").read_text()
    (project / "dvc.yaml").write_text(text.replace("cmd: python line.py ingest ${ingest.path} ${window.end}", spoil))
    with pytest.raises(StageError, match=r"(?s)stage ingest failed.*no such luck"):
        run(RunSettings(target="ingest"), project)
    assert git_status(project) == " M dvc.yaml\n"
    assert first_line(ValueError()) == "ValueError()" and first_line(ValueError("a\nb")) == "a"


def test_a_workspace_that_another_command_holds_is_waited_for(project, prefect_api):
    """The first attempt meets the lock of a running stage; the retry finds the workspace free and the stage done."""
    from pipelines.stage import run_stage

    (project.parent / "where/slow").touch()
    holder = subprocess.Popen(["dvc", "repro", "train"], cwd=project, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    while "Running stage 'train" not in holder.stdout.readline():
        pass
    threading.Timer(4, (project.parent / "where/slow").unlink).start()
    result = run_stage("train@gr", project, 60.0, retry_delay_seconds=[4, 4, 4])
    holder.wait()
    assert result.cached and ran(project) == ["ingest", "train"]


def test_a_stage_whose_process_was_killed_from_outside_runs_again(project, prefect_api):
    from pipelines.stage import run_stage

    once = "import os\nif not os.path.exists('killed'):\n    open('killed', 'w').close()\n    os.kill(os.getpid(), 9)\n"
    (project / "line.py").write_text(once + (project / "line.py").read_text())
    result = run_stage("ingest", project, 60.0, retry_delay_seconds=[0])
    assert not result.cached and ran(project) == ["ingest"]


def test_metric_rows_hold_the_scalars_of_every_model_the_telling_ones_first(project):
    from pipelines.artifacts import model_metrics

    (project / "reports/evaluate").mkdir(parents=True)
    values = '{"bias_s": 0.25, "decile": [1, 2], "mae_s": 1.51239, "rows": 7}'
    (project / "reports/evaluate/metrics.json").write_text(f'{{"models": {{"gr": {values}}}}}')
    (row,) = model_metrics(project)
    assert list(row.items()) == [("model", "gr"), ("mae_s", 1.5124), ("bias_s", 0.25), ("rows", 7)]
