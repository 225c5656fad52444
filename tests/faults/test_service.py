"""The whole service while parts of it are killed: server, worker, flow, all at once; a cancel that a stage resists."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from pipelines.service_lock import running
from pipelines.workspace import holder
from tests.helpers.kills import (
    ROOT,
    assert_nothing_left,
    in_project,
    lives,
    recorded,
    seeded,
    stage_processes,
    undisturbed,
)
from tests.helpers.service import COMMAND, free_port
from tests.helpers.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]


class Served:
    """A service of a project, its log and its API."""

    def __init__(self, project: Path, log: Path) -> None:
        self.project, self.log = project, log
        self.port, self.reports_port = free_port(), free_port()
        self.api = f"http://127.0.0.1:{self.port}/api"

    def start(self) -> None:
        words = [*COMMAND, str(self.project), str(self.port), str(self.reports_port)]
        environment = {**os.environ, "PAUSE": "0.2"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=log, env=environment)
        wait_until(lambda: running(self.project), 600, "the service")

    def program(self, name: str) -> psutil.Process:
        """The server or the worker."""
        return next(each for each in psutil.Process(self.process.pid).children() if name in each.cmdline())

    def run(self, *overrides: str) -> str:
        """Create a run of the deployment `run`; returns its id."""
        deployment = httpx.get(f"{self.api}/deployments/name/run/run", timeout=60).json()["id"]
        body = {"parameters": {"settings": {"overrides": list(overrides)}, "root": str(self.project)}}
        answer = httpx.post(f"{self.api}/deployments/{deployment}/create_flow_run", json=body, timeout=60)
        return str(answer.raise_for_status().json()["id"])

    def get(self, flow_run: str) -> dict:
        """A run, or nothing while the server is away."""
        try:
            answer = httpx.get(f"{self.api}/flow_runs/{flow_run}", timeout=10)
            return answer.json() if answer.status_code == 200 else {}
        except httpx.TransportError:
            return {}

    def wait_for_state(self, flow_run: str, state: str) -> dict:
        """The run once it is in that state."""
        return wait_until(lambda: (run := self.get(flow_run)).get("state_type") == state and run, 600, state)

    def page(self, flow_run: str) -> str:
        """The run's Markdown artifact, newest first."""
        body = {
            "artifacts": {"key": {"any_": ["run"]}, "flow_run_id": {"any_": [flow_run]}},
            "sort": "CREATED_DESC",
        }
        return httpx.post(f"{self.api}/artifacts/filter", json=body, timeout=60).json()[0]["data"]


@pytest.fixture(scope="module")
def served(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("service")
    service = Served(Path(shutil.copytree(template, folder / "project")), folder / "service.log")
    try:
        service.start()
        yield service
    finally:
        service.process.send_signal(signal.SIGTERM)
        service.process.wait(timeout=90)
        print(service.log.read_text()[-4000:])
    assert_nothing_left(service.project)


def at_stage(served: Served, stage: str) -> list[psutil.Process]:
    return wait_until(lambda: stage_processes(served.project, stage), 300, stage)


@pytest.mark.parametrize(("name", "stage", "scale"), [("server", "ingest", 2), ("worker", "train@gr", 3)])
def test_a_run_outlives_its_server_and_its_worker(served, other, name, stage, scale):
    run = served.run(f"train.scale={scale}")
    at_stage(served, stage)
    time.sleep(seeded().uniform(0, 2))
    served.program(name).kill()
    wait_until(lambda: f"{name} ended with status -9; starting it again" in served.log.read_text(), 60, "its end")
    done = served.wait_for_state(run, "COMPLETED")
    assert done["run_count"] == (1 if name == "server" else 2)  # a worker's runs end with it
    assert undisturbed(other, f"train.scale={scale}") in recorded(served.project).values()
    wait_until(lambda: holder(served.project) is None, 30, "the workspace")
    assert_only_the_service_works_in(served)


def test_a_run_whose_process_died_is_started_again_and_says_so(served, other):
    run = served.run("train.scale=4")
    left = at_stage(served, "train@gr")
    time.sleep(seeded().uniform(0, 2))
    killed = holder(served.project)
    assert killed is not None and killed.flow_run == run
    os.kill(killed.pid, signal.SIGKILL)
    wait_until(lambda: not any(lives(each) for each in left), 10, "what it left to end")
    done = served.wait_for_state(run, "COMPLETED")
    assert done["run_count"] == 2
    assert f"(process {killed.pid}, since" in (page := served.page(run)) and "ended processes that it left" in page
    assert undisturbed(other, "train.scale=4") in recorded(served.project).values()


def test_after_a_power_cut_the_run_goes_on_and_one_that_waited_too(served, other):
    run = served.run("train.scale=5")
    at_stage(served, "train@gr")
    waiting = served.run("train.scale=6")
    served.wait_for_state(waiting, "RUNNING")
    dead = {*in_project(served.project)}
    service = psutil.Process(served.process.pid)
    dead |= {service, *service.children(recursive=True)}
    for process in dead:
        process.suspend()  # nobody sees the others die
    dead |= {*service.children(recursive=True), *in_project(served.project)}
    for process in dead:
        process.kill()
    served.process.wait()
    wait_until(lambda: not any(lives(process) for process in dead), 30, "the end of all")
    assert not in_project(served.project)
    served.start()
    for scale, flow_run in ((5, run), (6, waiting)):
        assert served.wait_for_state(flow_run, "COMPLETED")["run_count"] == 2
        assert undisturbed(other, f"train.scale={scale}") in recorded(served.project).values()
    assert "ended without giving the workspace back" in served.page(run)
    assert_only_the_service_works_in(served)


def test_a_cancel_leaves_nothing_within_ten_seconds_though_the_stage_resists(served, other):
    (served.project / "runs").mkdir(exist_ok=True)
    (served.project / "runs/stubborn").touch()
    run = served.run("train.scale=7")
    at_stage(served, "train@gr")
    wait_until(lambda: len(stage_processes(served.project, "train@gr")) == 3, 30, "the ranks")
    state = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    httpx.post(f"{served.api}/flow_runs/{run}/set_state", json=state, timeout=60).raise_for_status()
    wait_until(lambda: not stage_processes(served.project), 10, "the stage's processes to end")
    served.wait_for_state(run, "CANCELLED")
    (served.project / "runs/stubborn").unlink()
    again = served.run("train.scale=7")
    served.wait_for_state(again, "COMPLETED")
    assert undisturbed(other, "train.scale=7") in recorded(served.project).values()


def assert_only_the_service_works_in(served: Served) -> None:
    """Nothing of a run is left; the service itself may have its folder there."""
    service = psutil.Process(served.process.pid)
    own = {service, *service.children(recursive=True)}
    wait_until(lambda: not {*in_project(served.project)} - own, 30, "the runs' processes to end")
    assert not stage_processes(served.project)
