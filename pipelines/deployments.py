"""Work pool and deployments of prefect.yaml on the service's server, and what people changed of their schedules.

`prefect deploy` replaces all schedules of a deployment by the file's. What was switched on or off in the UI, and the
schedules that were added there, are put back after it: a `daily` that somebody paused must not run after a restart.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse

POOL = "watchline"
OURS = "prefect-yaml"  # the slug of a schedule that prefect.yaml makes
_TIMEOUT_S = 300.0


def deploy(code: Path, environment: Mapping[str, str], log: Path) -> None:
    """Have the deployments as prefect.yaml says now, their schedules on or off as they were.

    Raises RuntimeError with what Prefect's command said last.
    """
    pool = ["prefect", "work-pool", "create", POOL, "--type", "process", "--overwrite"]
    deployments = ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", "pipelines/prefect.yaml"]
    with get_client(sync_client=True) as client:
        before = {each.id: each for each in client.read_deployments()}
        _run([pool, deployments], code, environment, log)
        for each in client.read_deployments():
            if each.id in before:
                _put_back(client, before[each.id], each)


def _run(commands: Sequence[Sequence[str]], code: Path, environment: Mapping[str, str], log: Path) -> None:
    with log.open("w", encoding="utf-8") as file:
        for command in commands:
            done = subprocess.run(
                command, cwd=code, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S
            )
            file.write(done.stdout + done.stderr)
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _put_back(client: SyncPrefectClient, before: DeploymentResponse, now: DeploymentResponse) -> None:
    """Give the deployment `now` what people had made of its schedules."""
    if now.paused != before.paused:
        client.set_deployment_paused_state(now.id, before.paused)
    for old in before.schedules:
        of_the_file = [new for new in now.schedules if _is_the_same(old, new)]
        for new in of_the_file:
            if new.active != old.active:
                client.update_deployment_schedule(now.id, new.id, active=old.active)
        if not of_the_file and old.slug != OURS:  # one of the file may have been removed from it
            client.create_deployment_schedules(
                now.id,
                [DeploymentScheduleCreate(schedule=old.schedule, active=old.active, parameters=old.parameters)],
            )


def _is_the_same(old: DeploymentSchedule, new: DeploymentSchedule) -> bool:
    """Whether both are the file's, or fire at the same times."""
    return (old.slug is not None and old.slug == new.slug) or old.schedule == new.schedule
