"""The real line under the real service: a schedule fires by itself, day after day, while the log grows."""

import os
import re
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipelines.experiments import finished
from pipelines.git_command import git
from pipelines.service_lock import running
from tests.helpers.daily_project import git_status
from tests.helpers.growing_log import GrowingLog
from tests.helpers.line_checkout import daily_checkout
from tests.helpers.service import serving
from tests.helpers.waiting import wait_until
from watchline.registry import read_history

FIRST_DAY, LENGTH, NUM_DAYS = date(2022, 4, 22), 6, 3  # LENGTH: of the window
A_DAY_S = 2400.0  # two minutes where nothing else runs
EVERY_MINUTE = {"schedule": {"cron": "* * * * *", "timezone": "UTC"}, "active": True}
# Between two days a run takes longer than a minute: what fires beside it is dropped.
ONE_AT_A_TIME = {"concurrency_limit": 1, "concurrency_options": {"collision_strategy": "CANCEL_NEW"}}


@pytest.fixture
def log(tmp_path: Path) -> GrowingLog:
    log = GrowingLog(tmp_path / "log", days=LENGTH + NUM_DAYS, rows_per_day=600, first_day=FIRST_DAY)
    log.add_until(log.day(LENGTH - 2))
    return log


@pytest.fixture
def project(tmp_path: Path, log: GrowingLog) -> Path:
    return daily_checkout(tmp_path / "project", log.directory)


@pytest.fixture
def api(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of the API of the project's own service."""
    for variable in [name for name in os.environ if name.startswith("PREFECT")]:  # of other tests of this process
        monkeypatch.delenv(variable)
    with serving(project, tmp_path / "service.log") as service:
        wait_until(lambda: running(project) or service.process.poll() is not None, 300, "the service")
        assert running(project) is not None, (tmp_path / "service.log").read_text()[-3000:]
        yield service.api


def runs(api: str, *kinds: str, name: str = "") -> list[dict[str, Any]]:
    """Flow runs in these types of states, of those whose name starts so."""
    asked: dict[str, Any] = {"state": {"type": {"any_": list(kinds)}}, **({"name": {"like_": name}} if name else {})}
    found: list[dict[str, Any]] = httpx.post(f"{api}/flow_runs/filter", json={"flow_runs": asked}, timeout=60).json()
    begin_so = [run for run in found if run["name"].startswith(name)]  # like_ finds "gate of daily-..." too
    return sorted(begin_so, key=lambda run: run["expected_start_time"])


def text_of_run(api: str, flow_run: str) -> str:
    """The markdown that the run left."""
    asked = {"artifacts": {"flow_run_id": {"any_": [flow_run]}, "key": {"any_": ["run"]}}}
    (artifact,) = httpx.post(f"{api}/artifacts/filter", json=asked, timeout=60).json()
    return str(artifact["data"])


def wait_for_day(api: str, day: date) -> dict[str, Any]:
    """The first completed daily of `day`; fails with what failed instead."""
    ended = "COMPLETED", "FAILED", "CRASHED"
    wait_until(
        lambda: runs(api, *ended[1:]) or runs(api, ended[0], name=f"daily-{day}"), A_DAY_S, f"the daily of {day}"
    )
    assert not [f"{run['name']}: {run['state']['message']}" for run in runs(api, *ended[1:])]
    return runs(api, ended[0], name=f"daily-{day}")[0]


@pytest.mark.faults
@pytest.mark.timeout(3 * A_DAY_S + 900)
def test_a_schedule_runs_three_days_each_doing_its_own_work_and_judged(api, project, log):
    deployment = httpx.get(f"{api}/deployments/name/daily/daily", timeout=60).json()
    address = f"{api}/deployments/{deployment['id']}"
    httpx.patch(address, json=ONE_AT_A_TIME, timeout=60).raise_for_status()
    days = [log.day(LENGTH - 1 + number) for number in range(NUM_DAYS)]
    log.add_until(days[0])
    schedule = deployment["schedules"][0]["id"]
    httpx.patch(f"{address}/schedules/{schedule}", json=EVERY_MINUTE, timeout=60).raise_for_status()

    verdicts: list[str] = []
    for number, day in enumerate(days):
        log.add_until(day)
        started = time.monotonic()
        run = wait_for_day(api, day)
        print(f"{day}: completed {time.monotonic() - started:.0f} s after it came in, run of {run['total_run_time']} s")
        assert run["auto_scheduled"] and run["name"] in finished(project)
        said = (project / "runs/logs" / f"{run['name']}.log").read_text()
        if number:
            assert f"new since the last run: {day}\n" in said and "; 1 days made anew" in said
        verdicts += re.findall(r"gate: \*\*(\w+)\*\*", text_of_run(api, run["id"]))
    httpx.patch(f"{address}/schedules/{schedule}", json={"active": False}, timeout=60).raise_for_status()
    wait_until(lambda: not runs(api, "RUNNING"), A_DAY_S, "the last run")

    assert {name[:16] for name in finished(project)} == {f"daily-{day}" for day in days}
    origin = git(project, "ls-remote", "origin")
    assert all(f"/{name}\n" in origin for name in finished(project))
    # The first is held against nothing, and each day has a model of its own, which cannot be in production already.
    assert len(verdicts) == NUM_DAYS and verdicts[0] == "pass" and "info" not in verdicts
    promoted = [str(day) for day, status in zip(days, verdicts, strict=True) if status == "pass"]
    assert [entry.window["eval_last"] for entry in read_history(project / "registry")] == promoted
    assert not git_status(project) and not runs(api, "FAILED", "CRASHED")
