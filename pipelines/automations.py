"""Automations of the service's server that post notifications to a webhook. `make ui` makes them as they stand here.

The events `watchline.drift` and `watchline.gate` carry the body that is posted (notifications.py). Failures are the
server's own events, so that a flow whose process was killed is told of too. The address is kept in a webhook block.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from prefect.automations import AutomationCore, CallWebhook, EventTrigger, Posture
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.schemas.automations import Automation

from pipelines.notifications import DRIFT, FAILURE, GATE

BLOCK = "watchline"
# Flows that are told of; `day` and `gate` fail with the flow that they are a part of.
FLOWS = ["run", "daily", "backfill", "leaderboard", "search", "promote", "rollback"]
STATES = ["Failed", "Crashed", "TimedOut"]
_ONCE_IN = timedelta(minutes=2)  # a worker says Crashed when the process ends and once more when it clears up
_PAYLOAD = "{{ event.payload | tojson }}"
_FAILURE_PAYLOAD = """
{%- set name = event.resource["prefect.resource.name"] -%}
{%- set run = name if name.startswith(flow.name) else flow.name ~ " " ~ name -%}
{%- set state = event.resource["prefect.state-name"] -%}
{%- set message = (event.resource["prefect.state-message"] or "").split("\\n")[0] -%}
{%- set reason = message | replace("Flow run encountered an exception: ", "") | replace("; last lines:", "") -%}
{%- set page = flow_run | ui_url -%}
{{ {"text": run ~ ": " ~ state ~ ". " ~ reason ~ " " ~ page, "kind": "KIND", "run": run, "status": state,
    "reason": reason, "page": page} | tojson }}""".replace("KIND", FAILURE)


def register(url: str | None, say: Callable[[str], None]) -> None:
    """Have the automations post to `url`; without one they are removed, and the block with it.

    One that was switched off in the UI stays off.
    """
    with get_client(sync_client=True) as client:
        there = {each.name: each for each in client.read_automations() if each.name in _triggers()}
        if not url:
            for each in there.values():
                client.delete_automation(each.id)
            with contextlib.suppress(ValueError):  # there is none
                Webhook.delete(BLOCK)
            return
        block = _webhook(url)
        for name, (trigger, payload) in _triggers().items():
            _register(client, there.get(name), name, trigger, CallWebhook(block_document_id=block, payload=payload))
    say(f"notifications of {', '.join((FAILURE, DRIFT, GATE))} go to the webhook")


def _triggers() -> dict[str, tuple[EventTrigger, str]]:
    """Automation's name -> its trigger and the template of what is posted."""
    failures = EventTrigger(
        expect={f"prefect.flow-run.{state}" for state in STATES},
        match_related={"prefect.resource.role": "flow", "prefect.resource.name": FLOWS},
        for_each={"prefect.resource.id", "prefect.run-count", "prefect.state-name"},
        posture=Posture.Reactive,
        within=_ONCE_IN,
    )
    told = {
        f"watchline: {kind}": (EventTrigger(expect={f"watchline.{kind}"}, posture=Posture.Reactive), _PAYLOAD)
        for kind in (DRIFT, GATE)
    }
    return {f"watchline: {FAILURE}": (failures, _FAILURE_PAYLOAD), **told}


def _webhook(url: str) -> UUID:
    headers = {"Content-Type": "application/json"}
    return Webhook(method="POST", url=url, headers=headers).save(BLOCK, overwrite=True)


def _register(
    client: SyncPrefectClient, old: Automation | None, name: str, trigger: EventTrigger, action: CallWebhook
) -> None:
    automation = AutomationCore(name=name, trigger=trigger, actions=[action], enabled=old.enabled if old else True)
    if old is None:
        client.create_automation(automation)
    else:  # by way of its JSON, since the client sends what was set, and types of triggers and actions are defaults
        client.update_automation(
            old.id, AutomationCore.model_validate(automation.model_dump(exclude={"owner_resource"}))
        )
