"""Flow runs of a test's service, by its API."""

from __future__ import annotations

from typing import Any

import httpx

from tests.helpers.waiting import wait_until

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
BUSY = 503  # Prefect's own clients try again too


def start(api: str, name: str, **parameters: object) -> str:
    """Start a run of a deployment; its id."""
    deployment = ask(f"{api}/deployments/name/{name}/{name}")["id"]
    return ask(f"{api}/deployments/{deployment}/create_flow_run", {"parameters": parameters})["id"]


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    """The server's answer to a GET, or with a `body` to a POST; asked again while its SQLite database is locked."""

    def answered() -> httpx.Response | None:
        response = httpx.get(url, timeout=60) if body is None else httpx.post(url, json=body, timeout=60)
        return None if response.status_code == BUSY else response.raise_for_status()

    return wait_until(answered, 120, f"an answer to {url}").json()


def end_of(api: str, run: str, states: tuple[str, ...] = ENDED) -> dict[str, Any]:
    """The flow run, once it is in one of `states`."""

    def seen() -> dict[str, Any] | None:
        found = ask(f"{api}/flow_runs/{run}")
        return found if found["state_type"] in states else None

    return wait_until(seen, 600, f"run {run} to end")
