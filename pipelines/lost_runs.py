"""Flow runs whose process died: what they left is ended, and they are scheduled again.

A stage's failure ends a flow run in the state Failed, which is never repeated. A run that was killed is Crashed, or
still Running, Pending or Cancelling where the worker or the machine went down with it; stages that it had done are
cached, and training goes on at its checkpoint.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import filters
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed, Scheduled

from pipelines.experiment_queue import lost_experiments
from pipelines.workspace import recover

MAX_STARTS = 3
# A second start of these does no more than one would. That of `rollback` could go back twice.
RESTARTED = {"run", "daily", "backfill", "leaderboard", "search"}
_ACTIVE = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
_SETTLED_S = 30.0  # a worker says Crashed when the process ends and once more when it clears up, seconds later
_LOOK_S = 5.0
_RUN_ID = "PREFECT__FLOW_RUN_ID"  # in the environment of a worker's flow run


class LostRuns:
    """Looks for holders of the workspace `root`, or of its queue, that died, and for flow runs without a process."""

    def __init__(self, root: Path, say: Callable[[str], None]) -> None:
        self.root, self.say = root, say
        self.found: dict[UUID, float] = {}  # a flow run -> when it was found without its process
        self.restarts: Counter[UUID] = Counter()  # Prefect counts a start once the flow's code is loaded, not before
        self.active: set[UUID] = set()
        self.next_look = 0.0
        self.complaint = ""

    def look(self) -> None:
        """One look, at the workspace each time, at the server every few seconds; what goes wrong is said once."""
        try:
            for dead in (recover(self.root, self.say), lost_experiments(self.root)):
                if dead is not None and dead.flow_run:
                    self.found.setdefault(UUID(dead.flow_run), time.monotonic())
            if time.monotonic() >= self.next_look:
                self.next_look = time.monotonic() + _LOOK_S
                with get_client(sync_client=True) as client:
                    self._look_at(client)
                self.complaint = ""
        except Exception as error:  # the server is being started again, the disk is full: the service outlives both
            if (complaint := f"{type(error).__name__}: {error}") != self.complaint:
                self.say(f"lost runs are looked for again in a moment: {complaint}")
                self.complaint = complaint

    def _look_at(self, client: SyncPrefectClient) -> None:
        of_deployments = filters.FlowRunFilterDeploymentId(is_null_=False)
        runs = client.read_flow_runs(
            flow_run_filter=filters.FlowRunFilter(state=_in_state(), deployment_id=of_deployments)
        )
        active, alive = {run.id for run in runs}, _with_a_process()
        for run in (active - alive) | (self.active - active):
            self.found.setdefault(run, time.monotonic())
        self.active = active
        for lost, since in list(self.found.items()):
            if lost in alive and lost not in active:
                continue  # its process is about to end
            if lost in alive or self._settled(client, lost, time.monotonic() - since):
                del self.found[lost]

    def _settled(self, client: SyncPrefectClient, flow_run: UUID, seconds: float) -> bool:
        """Schedule the run again, or say what it was, if it is lost; False while that is not known."""
        try:
            run = client.read_flow_run(flow_run)
        except ObjectNotFound:
            return True
        state = run.state.type if run.state else StateType.RUNNING
        if state not in (*_ACTIVE, StateType.CRASHED):
            return True
        if seconds < _SETTLED_S:
            return False
        _close(client, run)
        starts = max(run.run_count, 1 + self.restarts[run.id])
        if state == StateType.CANCELLING:
            client.set_flow_run_state(run.id, Cancelled(message="Its process had died."), force=True)
        elif run.deployment_id is None or client.read_flow(run.flow_id).name not in RESTARTED:
            self.say(f"{run.name} died and is not started again by itself")
            client.set_flow_run_state(run.id, Crashed(message="Its process died. Start it again."), force=True)
        elif starts >= MAX_STARTS:
            self.say(f"{run.name} died {starts} times and is not started again")
            client.set_flow_run_state(run.id, Crashed(message=f"It died {starts} times."), force=True)
        else:
            self.restarts[run.id] += 1
            self.say(f"{run.name} died and is started again")
            message = f"Its process died (start {starts}); stages that are done stay cached."
            client.set_flow_run_state(run.id, Scheduled(name="AwaitingRetry", message=message), force=True)
        return True


def _in_state() -> filters.FlowRunFilterState:
    return filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=_ACTIVE))


def _with_a_process() -> set[UUID]:
    """Flow runs that a worker started and that have a process."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError, ValueError):
            found.add(UUID(process.environ().get(_RUN_ID, "")))
    return found


def _close(client: SyncPrefectClient, run: FlowRun) -> None:
    """Say of a lost run's tasks, and of the runs within it, that they are over."""
    crashed = Crashed(message="The process of the flow died.")
    of_it = filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=[run.id]))
    running = filters.TaskRunFilter(state=filters.TaskRunFilterState(type=filters.TaskRunFilterStateType(any_=_ACTIVE)))
    for task in client.read_task_runs(flow_run_filter=of_it, task_run_filter=running):
        client.set_task_run_state(task.id, crashed, force=True)
    within = filters.FlowRunFilterParentFlowRunId(any_=[run.id])
    for child in client.read_flow_runs(
        flow_run_filter=filters.FlowRunFilter(parent_flow_run_id=within, state=_in_state())
    ):
        _close(client, child)
        client.set_flow_run_state(child.id, crashed, force=True)
