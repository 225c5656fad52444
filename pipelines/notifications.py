"""What people are told of a run: that it failed, a drift alarm, the gate's verdict. Each is the JSON body of a webhook.

Where the service runs, a flow emits an event, and the server's automations (automations.py) post its body; they also
tell of flows whose process was killed. Without it the flow's own process posts to the address in WEBHOOK_URL.
"""

from __future__ import annotations

import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.reports_server import REPORTS_URL, reports_url

WEBHOOK_URL = "WATCHLINE_WEBHOOK_URL"  # a secret, so a variable: nothing in git
DRIFT, GATE, FAILURE = "drift", "gate", "failure"
_POST_TIMEOUT_S = 5.0

Body = dict[str, Any]


def body_of(kind: str, run: str, status: str, reason: str, page: str | None, sentence: str, **more: object) -> Body:
    """A notification; `text` is all of it in words, which is what chats show."""
    text = f"{run}: {sentence}" + (f" {page}" if page else "")
    return {"text": text, "kind": kind, "run": run, "status": status, "reason": reason, "page": page, **more}


def drift_alarm(root: Path, run: str) -> Body | None:
    """The drift stage's verdict on the run in the workspace; None where it is `pass`, or there is none."""
    path = root / "reports/drift/metrics.json"
    if not path.is_file():
        return None
    verdict = json.loads(path.read_text(encoding="utf-8"))["verdict"]
    status, reason = verdict["status"], verdict["text"]
    if status == "pass":
        return None
    page = f"{reports_url(root)}/drift/index.html"
    return body_of(DRIFT, run, status, reason, page, f"drift alarm ({status}): {reason}")


def gate_verdict(root: Path, run: str, verdict: dict[str, Any]) -> Body:
    """A verdict of the gate, with the version where the candidate was promoted, else with its first reason."""
    version = verdict.get("version")
    failed = [check for check in verdict["checks"] if check["status"] == "fail"]
    reason = f"{failed[0]['name']}: {failed[0]['found']}" if failed else verdict["text"]
    what = "not promoted" if version is None else f"promoted to v{version}"
    page = f"{reports_url(root)}/promote/index.html"
    return body_of(GATE, run, verdict["status"], reason, page, f"{what}. {reason}", version=version)


def failure(run: str, error: BaseException) -> Body:
    """A flow of the command line that ended with `error`."""
    reason = (str(error).splitlines() or [repr(error)])[0].removesuffix("; last lines:")
    return body_of(FAILURE, run, "Failed", reason, None, f"Failed. {reason}")


def tell(body: Body, say: Callable[[str], None] = print) -> None:
    """Send a notification, by the service where it runs; nothing where no address is configured.

    Raises nothing: what goes wrong is said. Takes at most five seconds.
    """
    if REPORTS_URL in os.environ:
        from prefect.events import emit_event

        resource = {"prefect.resource.id": f"watchline.run.{body['run']}", "prefect.resource.name": body["run"]}
        emit_event(f"watchline.{body['kind']}", resource, payload=body)
    elif url := os.environ.get(WEBHOOK_URL):
        post(url, body, say)


def tell_failure(command: str, error: BaseException) -> None:
    """Tell of a flow of the command line that failed, unless the service runs: its server sees that by itself."""
    if REPORTS_URL not in os.environ:
        tell(failure(command, error))


def post(url: str, body: Body, say: Callable[[str], None], timeout_s: float = _POST_TIMEOUT_S) -> None:
    """Post `body` to `url`, in a thread that is not waited for any longer than `timeout_s`."""
    said = [f"no answer within {timeout_s:g} s"]
    thread = threading.Thread(target=lambda: said.append(_post(url, body, timeout_s)), daemon=True)
    thread.start()
    thread.join(timeout_s)
    if said[-1]:
        say(f"warning: {WEBHOOK_URL} did not take the notification of {body['run']}: {said[-1]}")


def require_address(url: str) -> None:
    """Raise ValueError for what cannot be a webhook's address; the message does not repeat it, a secret."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{WEBHOOK_URL} is not an address that begins with http:// or https://")


def _post(url: str, body: Body, timeout_s: float) -> str:
    """What went wrong, its kind alone, for messages repeat parts of the address; empty where nothing did."""
    try:
        require_address(url)
    except ValueError as error:
        return str(error)
    try:
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=timeout_s).close()
    except urllib.error.HTTPError as error:
        return f"HTTP status {error.code}"
    except Exception as error:  # a traceback of the thread would show the address
        reason = getattr(error, "reason", error)  # of an URLError: an error, or words
        return type(reason if isinstance(reason, Exception) else error).__name__
    return ""
