"""A clock that was set back: files from the future, a run in the past, a kill in between; the bytes do not change."""

import os
import time

import pytest

from pipelines.settings import RunSettings
from tests.helpers.kills import (
    api_url,
    assert_nothing_left,
    recorded,
    stage_processes,
    start_flow,
    undisturbed,
)
from tests.helpers.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
YEAR_S = 365 * 86400
# Python runs this at its start: flow, DVC and stages live a year ago. Clocks that only run forward do not change. These
# are no functions: a class that has one as its attribute (logging.Formatter.converter) would call it as a method.
YEAR_BACK = """
import time

class Back:
    def __init__(self, now, unit):
        self.now, self.by = now, 365 * 86400 * unit
    def __call__(self):
        return self.now() - self.by

class Broken:
    def __init__(self, parts, now):
        self.parts, self.now = parts, now
    def __call__(self, seconds=None):
        return self.parts(self.now() if seconds is None else seconds)

if type(time.time) is type(time.sleep):  # a program may run this twice
    time.time, time.time_ns = Back(time.time, 1), Back(time.time_ns, 10**9)
    time.gmtime, time.localtime = Broken(time.gmtime, time.time), Broken(time.localtime, time.time)
"""


def test_files_of_the_future_are_no_news_and_a_change_is(project, other, prefect_api):
    """What a workspace looks like after the clock went back: all in it was written in the future."""
    from pipelines.flow import run

    run(RunSettings(record="workspace"), project)
    for path in project.rglob("*"):
        if ".git" not in path.parts and path.is_file() and not path.is_symlink():
            os.utime(path, (time.time() + YEAR_S, time.time() + YEAR_S))
    assert all(result.cached for result in run(RunSettings(), project))
    for root in (project, other):
        (root / "raw/2024-03-01").write_text("2024-03-01 of the present\n")
    assert not run(RunSettings(), project)[0].cached
    assert list(recorded(project).values()) == [undisturbed(other)]


def test_a_run_whose_clock_is_a_year_back(project, other, prefect_api, tmp_path):
    from pipelines.flow import run

    run(RunSettings(target="ingest"), project)
    log = tmp_path / "flow.log"
    (tmp_path / "past").mkdir()
    (tmp_path / "past/sitecustomize.py").write_text(YEAR_BACK)
    past = {"PYTHONPATH": str(tmp_path / "past")}
    first = start_flow(project, "run", "train.scale=3", log=log, api=api_url(), PAUSE="0.2", **past)
    wait_until(lambda: stage_processes(project, "train@gr"), 200, "train")
    first.kill()
    first.wait()
    assert_nothing_left(project)
    second = start_flow(project, "run", "train.scale=3", log=log, api=api_url(), **past)
    assert second.wait(300) == 0, log.read_text()[-3000:]
    assert undisturbed(other, "train.scale=3") in recorded(project).values()
    name = next(name for name, lock in recorded(project).items() if "scale: 3" in lock)
    assert f"\n{time.gmtime().tm_year - 1}-" in (project / f"runs/logs/{name}.log").read_text()
    assert_nothing_left(project)
