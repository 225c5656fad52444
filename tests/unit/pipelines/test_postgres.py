"""The service on PostgreSQL instead of SQLite."""

from pathlib import Path

import pytest

from pipelines.service_lock import running
from tests.helpers.daily_project import make_project
from tests.helpers.postgres import PASSWORD, find_programs, postgres
from tests.helpers.running_flows import ask, end_of, start
from tests.helpers.service import serving
from tests.helpers.waiting import wait_until

PROGRAMS = find_programs()


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.skipif(PROGRAMS is None, reason="no initdb and pg_ctl (Debian: apt-get install postgresql)")
def test_runs_are_kept_in_postgresql_over_a_restart_and_sqlite_is_not_used(tmp_path: Path, monkeypatch):
    project = make_project(tmp_path / "project", "2024-03-01")
    (tmp_path / "where").mkdir()
    monkeypatch.setenv("WHERE", str(tmp_path / "where"))
    with postgres(PROGRAMS) as url:
        monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", url)
        with serving(project, tmp_path / "first") as service:
            wait_until(lambda: running(project), 300, "the service")
            run = start(service.api, "run", settings={"target": "ingest"})
            ended = end_of(service.api, run)
            vacuum = ask(f"{service.api}/admin/settings")["server"]["services"]["db_vacuum"]
            assert set(vacuum["enabled"]) == {"events", "flow_runs"}
            assert ended["state_type"] == "COMPLETED" and ended["name"].startswith("run-2024-03-01-default-")
        with serving(project, tmp_path / "second") as service:
            wait_until(lambda: running(project), 300, "the service again")
            found = ask(f"{service.api}/flow_runs/{run}")
            assert (found["name"], found["state_type"]) == (ended["name"], "COMPLETED")
            again = end_of(service.api, start(service.api, "run", settings={"target": "ingest"}))
            assert again["state_type"] == "COMPLETED"
    assert (tmp_path / "where/ran").read_text() == "ingest 2024-03-01\n"  # the second run found it cached
    assert not list((project / ".prefect").rglob("*.db*"))
    for log in [*(project / ".prefect/service").glob("*.log"), tmp_path / "first", tmp_path / "second"]:
        assert PASSWORD not in log.read_text()
