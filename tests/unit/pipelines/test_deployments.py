"""Deployments of prefect.yaml on a real server, made anew as each start of the service does."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def environment(prefect_api: None, tmp_path: Path) -> Iterator[dict[str, str]]:
    """What Prefect's command needs; the deployments are gone at the end."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    code = {"WATCHLINE_CODE": str(ROOT), "WATCHLINE_ROOT": str(tmp_path), "PYTHONPATH": str(ROOT)}
    yield {**os.environ, **code, "PREFECT_API_URL": str(PREFECT_API_URL.value())}
    with get_client(sync_client=True) as client:
        for each in client.read_deployments():
            client.delete_deployment(each.id)


@pytest.mark.timeout(300)
def test_what_people_made_of_the_schedules_outlives_a_restart(environment, tmp_path):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.schedules import CronSchedule

    from pipelines import deployments as module
    from pipelines.deployments import deploy

    def deployments() -> dict[str, Any]:
        deploy(ROOT, environment, tmp_path)
        with get_client(sync_client=True) as client:
            return {each.name: each for each in client.read_deployments()}

    first = deployments()
    with get_client(sync_client=True) as client:
        for name, active in (("daily", False), ("backfill", True)):
            (schedule,) = first[name].schedules
            client.update_deployment_schedule(first[name].id, schedule.id, active=active)
        client.create_deployment_schedules(first["run"].id, [(CronSchedule(cron="0 3 * * 1", timezone="UTC"), True)])
        at_the_same_time = first["search"].schedules[0].schedule
        client.create_deployment_schedules(first["search"].id, [(at_the_same_time, True)])
        client.set_deployment_paused_state(first["leaderboard"].id, True)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="--type broken"):
        patch.setattr(module, "_COMMANDS", (*module._COMMANDS, ("prefect", "work-pool", "create", "--type", "broken")))
        deployments()  # as if it were cut off: the schedules are the file's now
    for _ in range(2):  # what was put back is put back again
        again = deployments()
        found = {
            name: sorted((each.schedule.cron, each.active) for each in deployment.schedules)
            for name, deployment in again.items()
        }
        assert found == {
            "run": [("0 12 * * *", False), ("0 3 * * 1", True)],
            "daily": [("0 5 * * *", False)],
            "backfill": [("0 8 * * 0", True)],
            "leaderboard": [("0 20 * * 5", False)],
            "search": [("0 20 1 * *", False), ("0 20 1 * *", True)],
            "promote": [],
            "rollback": [],
        }
        assert [name for name, deployment in again.items() if deployment.paused] == ["leaderboard"]
