"""The real line by the day: a backfill makes what the dailies of those days made, while the log still grew."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.experiments import finished
from pipelines.git_command import git
from pipelines.settings import BackfillSettings, DailySettings
from tests.helpers.growing_log import GrowingLog
from tests.helpers.line_checkout import daily_checkout

FIRST_DAY = date(2022, 4, 22)
LENGTH = 6  # of the window
NUM_DAYS = 7
# They say which rows of the log lie after the window, which a backfill has and a daily has not.
OF_LATER_ROWS = {"reports/ingest/index.html", "reports/ingest/page.json", "reports/ingest/metrics.json"}


def outputs(project: Path) -> dict[str, dict[str, str]]:
    """Of every recorded run, path -> hash of each output."""
    runs = {
        name: yaml.safe_load(git(project, "show", f"{commit}:dvc.lock")) for name, commit in finished(project).items()
    }
    return {name: hashes(lock) for name, lock in runs.items()}


def hashes(lock: dict[str, Any]) -> dict[str, str]:
    return {out["path"]: out["md5"] for entry in lock["stages"].values() for out in entry["outs"]}


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_a_backfill_of_seven_days_equals_seven_dailies(prefect_api, tmp_path):
    from pipelines.flow import backfill, daily

    growing, whole = tmp_path / "growing", tmp_path / "whole"
    log = GrowingLog(tmp_path / "log", days=LENGTH + NUM_DAYS, rows_per_day=600, first_day=FIRST_DAY)
    daily_checkout(growing, tmp_path / "log")
    daily_checkout(whole, tmp_path / "log")
    days = [log.day(LENGTH - 1 + number) for number in range(NUM_DAYS)]
    for day in days:
        log.add_until(day)
        daily(DailySettings(gate=False, push=False), growing)
    assert set(backfill(BackfillSettings(days=NUM_DAYS, gate=False, push=False), whole).values()) == {"ran"}

    by_day, at_once = outputs(growing), outputs(whole)
    assert sorted(by_day) == sorted(at_once) and len(by_day) == NUM_DAYS
    for name, made in at_once.items():
        differing = {path for path, md5 in made.items() if by_day[name][path] != md5}
        assert differing <= OF_LATER_ROWS, name
        assert len(made) > 20
    assert len({made["models/gr"] for made in at_once.values()}) == NUM_DAYS
