"""Two `daily` at once: one works, the other waits and finds all cached, or says who holds the workspace."""

import pytest

from tests.helpers.kills import api_url, assert_nothing_left, recorded, start_flow, undisturbed
from tests.helpers.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def test_two_dailies_at_once(project, other, prefect_api, tmp_path):
    logs = [tmp_path / "first.log", tmp_path / "second.log", tmp_path / "third.log"]
    words = ["gate:false", "push:false"]
    both = [start_flow(project, "daily", *words, log=log, api=api_url(), PAUSE="0.1") for log in logs[:2]]
    wait_until(lambda: any("which holds the workspace" in log.read_text() for log in logs[:2]), 120, "one to wait")
    third = start_flow(project, "daily", *words, "wait_s:0", log=logs[2], api=api_url())
    assert third.wait(120) == 1 and "the workspace is held by" in logs[2].read_text()
    assert [flow.wait(300) for flow in both] == [0, 0]
    first, second = (log.read_text() for log in logs[:2])
    assert first.count("Running stage") + second.count("Running stage") == 4
    assert list(recorded(project).values()) == [undisturbed(other, "window.end='2024-03-02'")]
    assert_nothing_left(project)
