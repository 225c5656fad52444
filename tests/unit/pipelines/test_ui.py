"""The service: deployments with schedules, one per project, a cancel that leaves no process, one stop for it all."""

import os
import signal
import subprocess
import urllib.request
from pathlib import Path

import httpx
import psutil
import pytest

from pipelines.service import down
from pipelines.service_lock import running
from pipelines.workspace import holder
from tests.helpers.daily_project import git_status
from tests.helpers.git_project import start_repository
from tests.helpers.service import COMMAND, ROOT, lives, serving
from tests.helpers.waiting import wait_until

SLEEP = "time.sleep(601)"


def sleeping(project: Path) -> list[psutil.Process]:
    """The stage's innermost process, where it runs."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command = process.info["cmdline"] or [""]
        if command[0] == "python" and SLEEP in command[-1] and process.info["cwd"] == str(project) and lives(process):
            found.append(process)
    return found


@pytest.fixture
def slow_project(tmp_path: Path) -> Path:
    """A project whose one stage sleeps in a session of its own, as a rank of torchrun would."""
    root = tmp_path / "project"
    (root / "conf").mkdir(parents=True)
    (root / "reports").mkdir()
    (root / "reports/index.html").write_text("<h1>index</h1>")
    (root / "conf/config.yaml").write_text("window: {end: '2024-03-14'}\n")
    (root / "params.yaml").write_text("window: {end: '2024-03-14'}\n")
    (root / ".gitignore").write_text("/.prefect\n/reports\n/runs\n")
    (root / "dvc.yaml").write_text(f"stages:\n  only:\n    cmd: setsid --wait python -c 'import time; {SLEEP}'\n")
    return start_repository(root)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "service.log"


@pytest.fixture
def service(slow_project: Path, log: Path):
    with serving(slow_project, log) as service:
        yield service.process, service.api, service.reports


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_one_command_up_a_second_finds_it_a_cancel_leaves_nothing_one_command_down(service, slow_project, log):
    process, api, reports = service
    wait_until(lambda: running(slow_project), 240, "the service")
    names = ["run", "daily", "backfill", "leaderboard", "search"]
    deployments = {name: answer(f"{api}/deployments/name/{name}/{name}") for name in names}
    assert all(deployment and deployment["schedules"] for deployment in deployments.values())
    assert all(answer(f"{api}/deployments/name/{name}/{name}") for name in ("promote", "rollback"))
    (schedule,) = deployments["daily"]["schedules"]
    assert schedule["active"] and schedule["schedule"]["cron"] == "0 5 * * *"
    second = subprocess.run([*COMMAND, str(slow_project), "1", "1"], cwd=ROOT, capture_output=True, text=True)
    assert second.returncode == 0 and f"runs already\nPrefect UI  {api.removesuffix('/api')}" in second.stdout
    assert not git_status(slow_project)
    with urllib.request.urlopen(f"{reports}/index.html") as page:
        assert page.read() == b"<h1>index</h1>"

    planned = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    wait_until(lambda: httpx.post(f"{api}/flow_runs/filter", json=planned).json(), 60, "the scheduled runs")

    run = httpx.post(f"{api}/deployments/{deployments['run']['id']}/create_flow_run", json={}).json()
    (lost,) = wait_until(lambda: sleeping(slow_project), 120, "the stage to start")
    killed = holder(slow_project)
    assert killed is not None and killed.flow_run == run["id"]
    os.kill(killed.pid, signal.SIGKILL)
    wait_until(lambda: not lives(lost), 30, "what the killed run left to end")
    wait_until(lambda: sleeping(slow_project), 180, "the run to be started again")
    state = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    httpx.post(f"{api}/flow_runs/{run['id']}/set_state", json=state).raise_for_status()
    wait_until(lambda: not sleeping(slow_project), 10, "the stage's processes to end")
    wait_until(
        lambda: httpx.get(f"{api}/flow_runs/{run['id']}").json()["state_type"] == "CANCELLED", 60, "the cancelled state"
    )

    worker = next(each for each in psutil.Process(process.pid).children() if "worker" in each.cmdline())
    worker.kill()
    wait_until(lambda: "worker ended with status -9" in log.read_text(), 30, "the worker's end to be noticed")
    wait_until(lambda: len(psutil.Process(process.pid).children()) == 2, 30, "the worker to be started again")

    tree = psutil.Process(process.pid).children(recursive=True)
    assert down(slow_project) and not down(slow_project)
    process.wait(timeout=60)
    wait_until(lambda: not any(lives(child) for child in tree), 15, "the server's processes to end")


def answer(url: str):
    """The JSON body, or None while the server does not know the address yet."""
    try:
        response = httpx.get(url)
    except httpx.TransportError:
        return None
    return response.json() if response.status_code == 200 else None
