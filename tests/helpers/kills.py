"""Processes of a run found by what they are, killed, and looked for afterwards; results compared byte for byte."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from pipelines.experiments import finished
from pipelines.git_command import git
from pipelines.params import compose_params
from tests.helpers.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
# A flow as a process of its own, on the API that the environment names; without one it starts a temporary API.
FLOW = """
import os, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/src"]
from pipelines import flow, settings
kind, root, overrides = sys.argv[2], Path(sys.argv[3]), sys.argv[4:]
options = dict(word.split(":", 1) for word in overrides if ":" in word)
plain = [word for word in overrides if ":" not in word]
model = getattr(settings, kind.capitalize() + "Settings")
getattr(flow, kind)(model(overrides=plain, **options), root)
"""


def seeded() -> random.Random:
    """Random moments and victims; the seed is printed, and FAULTS_SEED repeats it."""
    seed = int(os.environ.get("FAULTS_SEED", time.time_ns() % 1_000_000))
    print(f"FAULTS_SEED={seed}")
    return random.Random(seed)


def start_flow(
    root: Path, kind: str, *words: str, log: Path, api: str = "", **variables: str
) -> subprocess.Popen[bytes]:
    """Start the flow `kind` on `root`: words are overrides, and settings in the form name:value."""
    environment = {**os.environ, **variables}
    if api:
        environment["PREFECT_API_URL"] = api
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-c", FLOW, str(ROOT), kind, str(root), *words],
            cwd=root,
            env=environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def api_url() -> str:
    """Address of the test session's Prefect API."""
    from prefect.settings import PREFECT_API_URL

    return str(PREFECT_API_URL.value())


def lives(process: psutil.Process) -> bool:
    """Whether a process still runs; one that only waits to be reaped does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def in_project(root: Path) -> list[psutil.Process]:
    """Everything that works in the project's folder, whoever started it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if Path(process.cwd()).is_relative_to(root.resolve()) and lives(process) and process.pid != os.getpid():
                found.append(process)
    return found


def stage_processes(root: Path, stage: str | None = None) -> list[psutil.Process]:
    """Processes of the running stage (of `stage`, where one is named), its command's first; ranks are among them."""
    found = []
    for process in in_project(root):
        with contextlib.suppress(psutil.Error, OSError):
            running = process.environ().get("DVC_STAGE")
            if running and stage in (None, running):
                found.append(process)
    return sorted(found, key=lambda each: (each.create_time(), each.pid))


def cpu_seconds(processes: list[psutil.Process]) -> float:
    """CPU time that they have used so far: a measure of progress that a busy machine does not change."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def assert_nothing_left(root: Path, seconds: float = 30) -> None:
    """No process works in the project any more, and git's files are as committed."""
    from tests.helpers.daily_project import git_status

    wait_until(lambda: not in_project(root), seconds, f"no process in {root}: {in_project(root)}")
    wait_until(lambda: not (root / "runs/workspace/before").exists(), seconds, "git's files to be put back")
    assert git_status(root) == ""


def undisturbed(root: Path, *overrides: str) -> str:
    """dvc.lock after a plain `dvc repro` of the project, which nothing interrupts."""
    compose_params(root, overrides)
    subprocess.run(["dvc", "repro", "-q"], cwd=root, check=True, env={**os.environ, "PAUSE": "0"})
    return (root / "dvc.lock").read_text()


def recorded(root: Path) -> dict[str, str]:
    """Name -> dvc.lock of every run that is recorded."""
    return {name: git(root, "show", f"{commit}:dvc.lock") for name, commit in finished(root).items()}


def half_files(cache: Path) -> Iterator[Path]:
    """Files of a DVC cache that are not what their name says."""
    for path in sorted((cache / "files/md5").rglob("*")):
        if path.is_file():
            name = (path.parent.name + path.name).removesuffix(".dir")
            if hashlib.md5(path.read_bytes()).hexdigest() != name:
                yield path
