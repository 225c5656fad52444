"""Notifications without a service: what is posted, and what a webhook that does not answer does to a run."""

import json
import socket
import time
from pathlib import Path

import pytest

from pipelines.__main__ import RefusedError, _told
from pipelines.notifications import WEBHOOK_URL, body_of, drift_alarm, gate_verdict, post, require_address, tell
from tests.helpers.service import free_port
from tests.helpers.webhook import Received, webhook

BODY = body_of("failure", "daily", "Failed", "no rows", None, "Failed. no rows")


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch):
    with webhook() as received:
        monkeypatch.setenv(WEBHOOK_URL, received.url)
        yield received


def raising(error: Exception):
    def run() -> None:
        raise error

    return run


def test_a_command_that_fails_is_told_with_its_first_line_and_a_refusal_is_not(received: Received, capsys):
    assert _told("daily", raising(RuntimeError("stage train failed\nlast lines"))) == 1
    assert _told("promote", raising(RefusedError("Do not promote gr"))) == 1
    assert _told("daily", lambda: None) == 0
    text = "daily: Failed. stage train failed"
    assert received.bodies == [
        {
            "text": text,
            "kind": "failure",
            "run": "daily",
            "status": "Failed",
            "reason": "stage train failed",
            "page": None,
        }
    ]
    assert capsys.readouterr().err.count("error: ") == 2


@pytest.mark.parametrize("status", ["warn", "fail"])
def test_drift_is_told_where_its_verdict_is_not_pass(received: Received, tmp_path: Path, status: str):
    assert drift_alarm(tmp_path, "daily-1") is None
    path = tmp_path / "reports/drift/metrics.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"verdict": {"status": "pass", "text": "0 of 4 drifted"}}))
    assert drift_alarm(tmp_path, "daily-1") is None
    path.write_text(json.dumps({"verdict": {"status": status, "text": "3 of 4 drifted"}}))
    tell(drift_alarm(tmp_path, "daily-1"))
    (body,) = received.bodies
    page = (tmp_path / "reports/drift/index.html").as_uri()
    assert body["text"] == f"daily-1: drift alarm ({status}): 3 of 4 drifted {page}"
    assert (body["kind"], body["run"], body["status"], body["page"]) == ("drift", "daily-1", status, page)


def test_the_gate_is_told_with_the_version_or_the_first_reason(received: Received, tmp_path: Path):
    checks = [
        {"name": "MAE", "status": "pass", "found": "-0.1"},
        {"name": "XAUC", "status": "fail", "found": "-0.02"},
        {"name": "lift", "status": "fail", "found": "-9 %"},
    ]
    tell(gate_verdict(tmp_path, "gate", {"status": "fail", "text": "Do not promote.", "checks": checks}))
    passed = {"status": "pass", "text": "Promote gr.", "checks": checks[:1], "version": 3}
    tell(gate_verdict(tmp_path, "gate", passed))
    refused, promoted = received.bodies
    assert "not promoted. XAUC: -0.02" in refused["text"] and refused["version"] is None
    assert refused["reason"] == "XAUC: -0.02" and refused["kind"] == promoted["kind"] == "gate"
    assert "promoted to v3. Promote gr." in promoted["text"] and promoted["version"] == 3


def test_without_an_address_nothing_is_posted_and_nothing_said(monkeypatch, capsys):
    monkeypatch.delenv(WEBHOOK_URL, raising=False)
    tell(BODY)
    assert capsys.readouterr() == ("", "")


def test_a_webhook_that_is_down_or_hangs_is_said_without_its_address_and_soon():
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        addresses = [f"http://127.0.0.1:{port}/secret" for port in (free_port(), silent.getsockname()[1])]
        started = time.monotonic()
        for url in (*addresses, "nothing://secret", "http://127.0.0.1:80/a secret", "http://[secret"):
            post(url, BODY, said.append, timeout_s=0.3)
        assert time.monotonic() - started < 2
    assert [line.startswith(f"warning: {WEBHOOK_URL} did not take the notification of daily: ") for line in said] == [
        True
    ] * 5
    assert said[0].endswith(": ConnectionRefusedError") and said[3].endswith(": InvalidURL")
    assert not any("secret" in line for line in said)


def test_only_addresses_of_the_web_are_taken():
    require_address("https://hooks.example.org/services/secret")
    with pytest.raises(ValueError, match="begins with http") as raised:
        require_address("hooks.example.org/secret")
    assert "secret" not in str(raised.value)
