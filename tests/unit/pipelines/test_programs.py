"""The service's programs and ports: restarts, logs, what a killed service leaves, a port that is taken."""

import http.server
import socket
import sys
import threading
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from pipelines import programs as module
from pipelines.ports import PortTakenError, listens, require_free
from pipelines.programs import Programs, end_leftovers
from pipelines.service import down, up
from pipelines.service_lock import running
from tests.helpers.service import free_port, lives, serving
from tests.helpers.waiting import wait_until

WAITING = [sys.executable, "-c", "import time; time.sleep(600)", "like prefect"]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def programs(tmp_path: Path, said: list[str]):
    programs = Programs(tmp_path, {}, said.append)
    yield programs
    programs.stop()


def test_a_program_that_dies_at_once_is_started_less_and_less_often(
    programs: Programs, tmp_path: Path, said: list[str]
):
    programs.start("worker", ["sh", "-c", "echo started; exit 3"])
    deadline = time.monotonic() + 1.6
    while time.monotonic() < deadline:
        programs.look()
        time.sleep(0.02)
    assert (tmp_path / "worker.log").read_text() == "started\n" * 2
    log = tmp_path / "worker.log"
    assert said == [f"worker ended with status 3; starting it again in {pause} s ({log})" for pause in (1, 2)]
    with pytest.raises(RuntimeError, match=r"worker ended with status 3:\nstarted"):
        programs.check()


def test_a_program_that_ran_for_a_while_is_started_again_at_once(programs: Programs, monkeypatch, said: list[str]):
    programs.start("server", WAITING)
    first = programs.programs["server"].process
    monkeypatch.setattr(module, "_STEADY_S", 0.0)
    first.kill()
    first.wait()
    programs.look()
    assert programs.programs["server"].process.pid != first.pid and "starting it again (" in said[0]


def test_a_long_log_is_put_aside_while_its_program_goes_on_writing(programs: Programs, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(module, "MAX_LOG_BYTES", 1000)
    programs.start(
        "server", ["sh", "-c", f"printf '%02000d' 1; until [ -e {tmp_path}/go ]; do sleep 0.02; done; echo end"]
    )
    log = tmp_path / "server.log"
    wait_until(lambda: log.stat().st_size == 2000)
    programs.look()
    (tmp_path / "go").touch()
    wait_until(lambda: log.stat().st_size)
    assert log.read_text() == "end\n" and len((tmp_path / "server.log.old").read_text()) == 2000


def test_a_long_log_that_cannot_be_put_aside_makes_room_and_ends_nothing(
    programs: Programs, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(module, "MAX_LOG_BYTES", 1000)
    (tmp_path / "server.log.old").mkdir()  # as a full disk would, it takes no copy
    programs.start("server", ["sh", "-c", "printf '%02000d' 1; sleep 600"])
    log = tmp_path / "server.log"
    wait_until(lambda: log.stat().st_size == 2000)
    programs.look()
    assert log.stat().st_size == 0 and programs.programs["server"].process.poll() is None


def test_a_program_goes_without_a_log_that_was_removed_and_without_what_is_hidden(tmp_path: Path, said: list[str]):
    programs = Programs(tmp_path, {"SECRET_URL": "a password", "ELSE": "seen"}, said.append)
    command = ["sh", "-c", 'echo "$SECRET_URL$ELSE"']
    programs.start("worker", command, hidden=("SECRET_",))
    programs.programs["worker"].process.wait()
    assert programs.log_of("worker").read_text() == "seen\n"
    programs.log_of("worker").unlink()
    programs.look()
    assert said == [f"worker ended with status 0; starting it again in 1 s ({programs.log_of('worker')})"]
    programs.programs["worker"].due = 0.0
    programs.look()
    programs.programs["worker"].process.wait()
    assert programs.log_of("worker").read_text() == "seen\n"


def test_ui_down_ends_a_service_that_is_still_starting(tmp_path: Path, said: list[str]):
    with serving(tmp_path, tmp_path / "log") as service:
        wait_until((tmp_path / ".prefect/service/server.log").exists)
        up(tmp_path, 1, 1, said.append)
        assert said == ["the service is starting: ask again in a moment"] and running(tmp_path) is None
        server = psutil.Process(service.process.pid).children()
        assert down(tmp_path) and service.process.wait(10) == 0 and not any(map(lives, server))
    assert not down(tmp_path)


def test_what_a_killed_service_left_is_ended_and_another_ones_is_not(
    programs: Programs, tmp_path: Path, said: list[str]
):
    programs.start("server", WAITING)
    left = psutil.Process(programs.programs["server"].process.pid)
    wait_until(lambda: "like prefect" in left.cmdline())
    (tmp_path / "other").mkdir()
    assert not end_leftovers(tmp_path / "other", said.append) and lives(left)
    assert end_leftovers(tmp_path, said.append) and not lives(left)
    assert said == [f"ending process {left.pid}, which the service left running"]


def test_ui_down_ends_what_a_killed_service_left(tmp_path: Path, said: list[str]):
    folder = tmp_path / ".prefect/service"
    assert not down(tmp_path, say=said.append)
    folder.mkdir(parents=True)
    (folder / "lock").write_text("{}")
    programs = Programs(folder, {}, said.append)
    programs.start("server", WAITING)
    wait_until(lambda: "like prefect" in psutil.Process(programs.programs["server"].process.pid).cmdline())
    assert down(tmp_path, say=said.append) and not down(tmp_path, say=said.append)
    assert programs.programs["server"].process.wait(5) is not None


def test_a_foreign_server_on_the_port_is_named_and_gets_no_deployments(tmp_path: Path, said: list[str]):
    asked = []

    class Healthy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)

    with http.server.HTTPServer(("127.0.0.1", 0), Healthy) as foreign:
        threading.Thread(target=foreign.serve_forever, args=(0.05,), daemon=True).start()
        port = foreign.server_address[1]
        message = (
            rf"(?s)the Prefect server cannot listen on 127.0.0.1:{port} \(process \d+, `.*make ui PORT={port + 100}"
        )
        (tmp_path / ".prefect/service").mkdir(parents=True)
        (tmp_path / ".prefect/service/lock").write_text("addresses of a killed service")
        with pytest.raises(PortTakenError, match=message):
            up(tmp_path, port, 0, said.append)
        assert (tmp_path / ".prefect/service/lock").read_text() == ""
        with pytest.raises(PortTakenError, match=rf"the report server .*:{port} .*make ui REPORTS_PORT="):
            up(tmp_path, free_port(), port, said.append)
        foreign.shutdown()
    assert not asked and not said
    require_free(port, "the Prefect server", "PORT")


def test_a_port_that_another_program_took_meanwhile_stops_the_restart(programs: Programs, monkeypatch):
    port = free_port()
    listening = [
        sys.executable,
        "-c",
        f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(600)",
    ]
    programs.start("server", listening, partial(require_free, port, "the Prefect server", "PORT"))
    wait_until(lambda: programs.listens("server", port))
    server = programs.programs["server"].process
    server.kill()
    server.wait()
    monkeypatch.setattr(module, "_STEADY_S", 0.0)
    with socket.create_server(("127.0.0.1", port)):
        assert not listens(server.pid, port)
        with pytest.raises(PortTakenError):
            programs.look()
