"""Runs that are started again after their process died, and how often."""

from pathlib import Path

import pytest


def test_a_flow_that_never_loads_is_started_three_times_and_no_more(
    tmp_path: Path, prefect_api: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flow with an error at its import crashes while Pending, which Prefect does not count as a start."""
    from prefect.client.orchestration import get_client
    from prefect.states import Crashed, Pending

    from pipelines import lost_runs

    monkeypatch.setattr(lost_runs, "_SETTLED_S", 0.0)
    monkeypatch.setattr(lost_runs, "_LOOK_S", 0.0)
    said: list[str] = []
    lost = lost_runs.LostRuns(tmp_path, said.append)
    with get_client(sync_client=True) as client:
        flow = client.create_flow_from_name("daily")
        deployment = client.create_deployment(flow, name="unloadable")
        run = client.create_flow_run_from_deployment(deployment)
        for _ in range(lost_runs.MAX_STARTS):
            client.set_flow_run_state(run.id, Pending(), force=True)
            lost.active = {run.id}  # as one look while it was Pending would have it
            client.set_flow_run_state(run.id, Crashed(message="its file cannot be imported"), force=True)
            lost.look()
        state = client.read_flow_run(run.id).state
        client.delete_deployment(deployment)
    assert said == [f"{run.name} died and is started again"] * 2 + [f"{run.name} died 3 times and is not started again"]
    assert state is not None and (state.type, state.message) == ("CRASHED", "It died 3 times.")
