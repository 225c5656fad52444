"""Work pool and deployments of prefect.yaml on the service's server, and what people changed of their schedules.

`prefect deploy` replaces all schedules of a deployment by the file's. What was switched on or off in the UI, and the
schedules that were added there, are put back after it: a `daily` that somebody paused must not run after a restart.
deployments.json keeps which schedules came from the file (by their ids; Prefect's UI would show a slug in the place of
the time), and what is to be put back until it is: a start that is cut off is finished by the next one.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse

POOL = "watchline"
_COMMANDS = (
    ("prefect", "work-pool", "create", POOL, "--type", "process", "--overwrite"),
    ("prefect", "--no-prompt", "deploy", "--all", "--prefect-file", "pipelines/prefect.yaml"),
)
_TIMEOUT_S = 300.0


def deploy(code: Path, environment: Mapping[str, str], folder: Path) -> None:
    """Have the deployments as prefect.yaml says now, their schedules on or off as they were.

    `folder`: of deploy.log. Raises RuntimeError with what Prefect's command said last.
    """
    kept = folder / "deployments.json"
    with get_client(sync_client=True) as client:
        state = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {"of_the_file": [], "before": None}
        if state["before"] is None:
            state["before"] = [each.model_dump(mode="json") for each in client.read_deployments()]
            _write(kept, state)
        before = {each.id: each for each in map(DeploymentResponse.model_validate, state["before"])}
        _run(code, environment, folder / "deploy.log")
        deployments = client.read_deployments()
        for now in deployments:
            if now.id in before:
                _put_back(client, before[now.id], now, set(state["of_the_file"]))
    ours = [str(schedule.id) for each in deployments for schedule in each.schedules]
    _write(kept, {"of_the_file": ours, "before": None})


def _write(path: Path, state: Mapping[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(state), encoding="utf-8")
    partial.replace(path)


def _run(code: Path, environment: Mapping[str, str], log: Path) -> None:
    with log.open("w", encoding="utf-8") as file:
        for command in _COMMANDS:
            try:
                done = subprocess.run(
                    command, cwd=code, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S
                )
            except subprocess.TimeoutExpired:
                raise RuntimeError(f"{' '.join(command)} did not end within {_TIMEOUT_S:.0f} s") from None
            file.write(done.stdout + done.stderr)
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _put_back(client: SyncPrefectClient, before: DeploymentResponse, now: DeploymentResponse, ours: set[str]) -> None:
    """Give the deployment `now` what people had made of its schedules; those with ids in `ours` came from the file."""
    if now.paused != before.paused:
        client.set_deployment_paused_state(now.id, before.paused)
    of_the_file, added = _split(before.schedules, now.schedules, ours)
    for old in of_the_file:
        for new in now.schedules:
            if new.active != old.active:
                client.update_deployment_schedule(now.id, new.id, active=old.active)
    if added:
        again = [
            DeploymentScheduleCreate(schedule=each.schedule, active=each.active, parameters=each.parameters)
            for each in added
        ]
        client.create_deployment_schedules(now.id, again)


def _split(
    before: list[DeploymentSchedule], now: list[DeploymentSchedule], ours: set[str]
) -> tuple[list[DeploymentSchedule], list[DeploymentSchedule]]:
    """Which of `before` came from the file, and which were added."""
    of_the_file = [each for each in before if str(each.id) in ours]
    if not of_the_file:  # of a database that no start has looked at, or the one before: the one that is as it is now
        times = [new.schedule for new in now]
        of_the_file = [each for each in before if each.schedule in times and not each.parameters][:1]
    return of_the_file, [each for each in before if each not in of_the_file]
