"""Notifications of a running service: its server posts them, for a flow that was killed too."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from pipelines.commands import Workspace
from pipelines.file_lock import Holder
from pipelines.notifications import WEBHOOK_URL
from pipelines.promotion import take_over
from pipelines.reports_server import REPORTS_URL
from pipelines.service_lock import running
from pipelines.workspace import holder
from tests.helpers.daily_project import make_project as make_toy
from tests.helpers.promotion_project import make_project
from tests.helpers.running_flows import ask, end_of, start
from tests.helpers.service import ROOT, Serving, free_port, lives, serving
from tests.helpers.waiting import wait_until
from tests.helpers.webhook import webhook
from watchline.registry.arms import choose_arms

LAST_STAGE = {
    "cmd": "while [ -e wait ]; do sleep 0.1; done; [ ! -e broken ]",
    "deps": ["reports/drift/metrics.json"],
    "always_changed": True,
}
BY_HAND = """
import sys
from pathlib import Path
from pipelines.flow import run
from pipelines.settings import RunSettings
run(RunSettings(record="workspace"), Path(sys.argv[1]))
"""
REGISTER = "from pipelines.automations import register; register('http://127.0.0.1:9/other', print)"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose line drifted, whose model is in production, and whose last stage waits or fails at will."""
    root = make_project(tmp_path / "project", tmp_path / "remote")
    put_in_production(root, "gr_finetuned")
    (root / "conf/config.yaml").write_text((root / "params.yaml").read_text())
    stages = yaml.safe_load((root / "dvc.yaml").read_text())
    stages["stages"]["last"] = LAST_STAGE
    (root / "dvc.yaml").write_text(yaml.safe_dump(stages))
    drift = root / "made/reports/drift/metrics.json"
    drift.write_text(drift.read_text().replace('"pass"', '"warn"'))
    return root


def named_holder(project: Path) -> Holder | None:
    """The run of the line that holds the workspace, once its parameters are composed and it has its name."""
    found = holder(project)
    return found if found is not None and found.run.startswith("run-") else None


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_failure_kill_drift_and_verdict_reach_a_webhook(project, tmp_path, monkeypatch):
    line = {"settings": {"record": "workspace"}}
    with webhook() as told:
        monkeypatch.setenv(WEBHOOK_URL, told.url)
        with serving(project, tmp_path / "log") as service:
            wait_until(lambda: running(project), 240, "the service")
            (project / "broken").touch()
            failed = end_of(service.api, start(service.api, "run", **line))
            (project / "broken").unlink()
            told.wait(2, 60)

            (project / "wait").touch()
            run = start(service.api, "run", **line)
            flow = wait_until(lambda: named_holder(project), 120, "the run to hold the workspace")
            os.kill(flow.pid, signal.SIGKILL)
            killed = end_of(service.api, run, ("CRASHED",))
            (project / "wait").unlink()
            end_of(service.api, run, ("COMPLETED",))
            told.wait(3, 60)

            run = start(service.api, "promote", settings={"push": False})
            assert end_of(service.api, run)["state_type"] == "COMPLETED"
            told.wait(4, 60)
            (project / "wait").touch()
            with subprocess.Popen([sys.executable, "-c", BY_HAND, str(project)], env=environment_of(service)) as shell:
                wait_until(lambda: named_holder(project), 120, "the run of the shell")
                shell.kill()
            (project / "wait").unlink()
            assert told.wait(5, 120)[-1]["reason"].startswith("Its process died.")

            kinds = [(body["kind"], body["status"]) for body in told.bodies]
            crashed = ("failure", "Crashed")
            # The alarm comes once: the later runs have the drift stage cached.
            assert kinds == [("drift", "warn"), ("failure", "Failed"), crashed, ("gate", "info"), crashed]
            of_failure, of_kill = told.bodies[1], told.bodies[2]
            assert of_failure["run"] == failed["name"] and of_kill["run"] == killed["name"]
            assert of_failure["reason"] == "StageError: stage last failed (dvc repro last: exit 255)"
            assert of_failure["page"] == f"{service.ui}/runs/flow-run/{failed['id']}"
            assert told.bodies[0]["page"] == f"{service.reports}/drift/index.html"
            assert all(body["text"].startswith(f"{body['run']}: ") for body in told.bodies)
            for log in (project / ".prefect/service").glob("*.log"):
                assert "/secret" not in log.read_text()


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_a_dead_webhook_stops_no_run_and_a_killed_service_is_cleared_up(tmp_path, monkeypatch):
    project = make_toy(tmp_path / "project", "2024-03-01")
    (tmp_path / "where").mkdir()
    (tmp_path / "where/broken").touch()
    monkeypatch.setenv("WHERE", str(tmp_path / "where"))
    monkeypatch.setenv(WEBHOOK_URL, f"http://127.0.0.1:{free_port()}/secret")
    with serving(project, tmp_path / "first") as service:
        wait_until(lambda: running(project), 240, "the service")
        assert end_of(service.api, start(service.api, "run"))["state_type"] == "FAILED"
        run = start(service.api, "run", settings={"target": "ingest"})
        assert end_of(service.api, run)["state_type"] == "COMPLETED"
        switched_off = ask(f"{service.api}/automations/filter", {})[0]
        httpx.patch(f"{service.api}/automations/{switched_off['id']}", json={"enabled": False}, timeout=60)
        subprocess.run([sys.executable, "-c", REGISTER], env=environment_of(service), check=True)
        there = ask(f"{service.api}/automations/filter", {})
        assert {each["name"]: each["enabled"] for each in there} == {
            name: name != switched_off["name"] for name in ("watchline: drift", "watchline: failure", "watchline: gate")
        }
        service.process.kill()
        service.process.wait()
        left = [each for each in psutil.process_iter() if is_of(each, project)]
        assert len(left) >= 2
    monkeypatch.delenv(WEBHOOK_URL)
    with serving(project, tmp_path / "second") as service:
        wait_until(lambda: running(project), 240, "the second service")
        assert "which the service left running" in (tmp_path / "second").read_text()
        assert not any(lives(each) for each in left)
        assert ask(f"{service.api}/automations/filter", {}) == []
        blocks = ask(f"{service.api}/block_documents/filter", {})
        assert "watchline" not in [block["name"] for block in blocks]


def put_in_production(root: Path, name: str) -> None:
    """A verdict that promotes models/NAME, and what follows it: so that the gate has little to do."""
    arms = choose_arms(root / "models", name, "lightgbm", root / "registry", "production")
    verdict = {"status": "pass", "text": f"Promote {name}.", "checks": [], "candidate": name, "statistic": "mean"}
    verdict |= {"window": {"eval_first": "2024-03-06", "eval_last": "2024-03-06"}, "metrics": {"mae_s": 1.0}}
    verdict |= {"method": arms.method, "digest": arms.digest, "events": arms.events}
    (root / "reports/promote").mkdir()
    (root / "reports/promote/verdict.json").write_text(json.dumps(verdict))
    take_over(Workspace(root, print, 300.0), "", commit=True, push=False)


def environment_of(service: Serving) -> dict[str, str]:
    """What a shell's command has, that found the service."""
    addresses = {"PREFECT_API_URL": service.api, REPORTS_URL: service.reports, "PYTHONPATH": str(ROOT)}
    return {**os.environ, **addresses}


def is_of(process: psutil.Process, project: Path) -> bool:
    """Whether a process is a server or worker of the project's service."""
    try:
        return process.environ().get("WATCHLINE_SERVICE") == str(project / ".prefect/service") and lives(process)
    except psutil.Error:
        return False
