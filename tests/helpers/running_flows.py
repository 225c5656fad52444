"""Flow runs of a test's service, by its API."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx

T = TypeVar("T")
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
BUSY = 503  # a SQLite database that is locked; Prefect's own clients try again


def start(api: str, name: str, **parameters: object) -> str:
    """Start a run of a deployment; its id."""
    deployment = httpx.get(f"{api}/deployments/name/{name}/{name}").json()["id"]

    def created() -> httpx.Response | None:
        response = httpx.post(f"{api}/deployments/{deployment}/create_flow_run", json={"parameters": parameters})
        return None if response.status_code == BUSY else response.raise_for_status()

    return wait_until(created, 60, "the server to take a run").json()["id"]


def wait_until(condition: Callable[[], T], seconds: float, what: str) -> T:
    """The first true answer of `condition`; fails where none comes in time."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.3)
    return answer


def end_of(api: str, run: str, states: tuple[str, ...] = ENDED) -> dict[str, Any]:
    """The flow run, once it is in one of `states`."""

    def seen() -> dict[str, Any] | None:
        response = httpx.get(f"{api}/flow_runs/{run}")
        found = {} if response.status_code == BUSY else response.raise_for_status().json()
        return found if found.get("state_type") in states else None

    return wait_until(seen, 600, f"run {run} to end")
