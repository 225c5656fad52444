"""Flow runs whose process died: what they left is ended, and they are scheduled again.

A stage's failure ends a flow run in the state Failed, which is never repeated. A run that was killed is Crashed, or
still Running where the machine went down with it; stages that it had done are cached, and training goes on at its
checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed, Failed, Scheduled

from pipelines.workspace import lost_experiments, recover

MAX_STARTS = 3
_SETTLED_S = 30.0  # a worker says Crashed when the process ends and once more when it clears up, seconds later


class LostRuns:
    """Looks for a holder of the workspace `root`, or of its queue, that died, and what became of its flow run."""

    def __init__(self, root: Path, say: Callable[[str], None]) -> None:
        self.root, self.say = root, say
        self.found: dict[str, float] = {}  # id of a flow run -> when its holder was found dead

    def look(self) -> None:
        """One look; cheap where nothing is lost."""
        for dead in (recover(self.root, self.say), lost_experiments(self.root)):
            if dead is not None and dead.flow_run:
                self.found[dead.flow_run] = time.monotonic()
        for flow_run, since in list(self.found.items()):
            if self._settled(flow_run, time.monotonic() - since):
                del self.found[flow_run]

    def _settled(self, flow_run: str, seconds: float) -> bool:
        """Schedule the run again if it is lost; False while that is not known."""
        with get_client(sync_client=True) as client:
            try:
                run = client.read_flow_run(UUID(flow_run))
            except ObjectNotFound:
                return True
            runs_on = run.state is None or run.state.type == StateType.RUNNING
            if not runs_on and run.state.type != StateType.CRASHED:  # it was cancelled
                return True
            if run.deployment_id is None:  # someone's own command, of which no worker says that it died
                if runs_on:
                    client.set_flow_run_state(run.id, Crashed(message="Its process died."), force=True)
                return True
            if seconds < _SETTLED_S:
                return False
            if run.run_count >= MAX_STARTS:
                message = f"Its process died {run.run_count} times; it is not started again."
                self.say(f"{run.name}: {message}")
                client.set_flow_run_state(run.id, Failed(message=message), force=True)
                return True
            self.say(f"{run.name} died and is started again")
            state = Scheduled(name="AwaitingRetry", message="Its process died; stages that are done stay cached.")
            client.set_flow_run_state(run.id, state)
            return True
