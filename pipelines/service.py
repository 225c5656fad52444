"""The line as a service on this machine: Prefect server, worker, deployments, report server, until it is told to stop.

One per project: the first holds .prefect/service/lock and has its addresses there; a second finds them. Programs that
die are started again (programs.py). Everything listens on the loopback address, and every file is below .prefect.
"""

from __future__ import annotations

import functools
import os
import signal
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

from pipelines.file_lock import try_lock
from pipelines.git_command import GitError
from pipelines.notifications import WEBHOOK_URL, require_address
from pipelines.ports import HOST, require_free
from pipelines.programs import Programs, end_leftovers
from pipelines.reports_server import REPORTS_URL, serve_reports
from pipelines.service_lock import FOLDER, Service, running, service_of, write_service
from pipelines.workspace import recover

CODE = Path(__file__).resolve().parent.parent
_READY_S = 240.0
_POLL_S = 1.0
# Secrets that only the server needs, by the beginnings of their names: the worker's runs and their stages do without.
_OF_THE_SERVER = ("PREFECT_SERVER_DATABASE_", "PREFECT_API_DATABASE_")


def up(root: Path, port: int, reports_port: int, say: Callable[[str], None] = print) -> None:
    """Run the service until SIGTERM or Ctrl-C; where one runs already, say where and return.

    On the way out the process trees of server and worker are gone. Raises RuntimeError when a part does not start,
    PortTakenError also later, when the server died and another program took its port.
    """
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as lock:
        if not try_lock(lock):
            service = running(root)
            say(f"the service runs already\n{service}" if service else "the service is starting: ask again in a moment")
            return
        write_service(lock, Service(os.getpid()))
        try:
            _serve(root, port, reports_port, lock, say)
        finally:
            lock.truncate(0)


def _serve(root: Path, port: int, reports_port: int, lock: IO[str], say: Callable[[str], None]) -> None:
    folder = root / FOLDER
    if webhook := os.environ.get(WEBHOOK_URL):
        require_address(webhook)
    end_leftovers(folder, say)
    server_may_start = functools.partial(require_free, port, "the Prefect server", "PORT")
    server_may_start()
    require_free(reports_port, "the report server", "REPORTS_PORT")
    reports = serve_reports(root / "reports", reports_port)
    service = Service(os.getpid(), f"http://{HOST}:{port}", f"http://{HOST}:{reports.server_address[1]}")
    environment = {
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",  # else runs and lines stay for ever
        **{name: value for name, value in os.environ.items() if name != WEBHOOK_URL},  # the server has it in a block
        REPORTS_URL: service.reports,
        "WATCHLINE_CODE": str(CODE),
        "WATCHLINE_ROOT": str(root),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(CODE), os.environ.get("PYTHONPATH")])),
    }
    programs = Programs(folder, environment, say)
    _stop_on(_interrupt)
    try:
        server = ["prefect", "server", "start", "--host", HOST, "--port", str(port)]
        programs.start("server", server, server_may_start)
        _wait_until_ready(port, programs)
        # These bring prefect, which reads its settings then: callers of `down` do without.
        from pipelines.automations import register
        from pipelines.deployments import POOL, deploy

        deploy(CODE, environment, folder)
        register(webhook, say)
        worker = ["prefect", "worker", "start", "--pool", POOL, "--name", POOL]
        programs.start("worker", worker, hidden=_OF_THE_SERVER)
        write_service(lock, service)
        say(str(service))
        _watch(root, programs, say)
    except KeyboardInterrupt:
        say("stopping")
    finally:
        _stop_on(signal.SIG_IGN)  # a second Ctrl-C would leave programs running
        programs.stop()
        _recover(root, say)
        reports.shutdown()
        reports.server_close()


def _watch(root: Path, programs: Programs, say: Callable[[str], None]) -> None:
    """Look after programs and lost runs for ever."""
    from pipelines.lost_runs import LostRuns  # it brings prefect too

    lost = LostRuns(root, say)
    while True:
        time.sleep(_POLL_S)
        programs.look()
        lost.look()


def _recover(root: Path, say: Callable[[str], None]) -> None:
    """Put back what a run left that the stop has killed, and its watcher with it; the next service starts it again."""
    try:
        recover(root, say, keep_record=True)
    except (OSError, GitError) as error:
        say(f"the workspace is not as before yet ({error}); the next run or service does it")


def down(root: Path, wait_s: float = 90.0, say: Callable[[str], None] = print) -> bool:
    """Stop the project's service, or what one that was killed left, and wait until it is gone; False where none ran.

    Raises TimeoutError.
    """
    service = service_of(root)
    if service is None:
        return _end_dead(root / FOLDER, say)
    os.kill(service.pid, signal.SIGTERM)
    deadline = time.monotonic() + wait_s
    while service_of(root) is not None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the service, process {service.pid}, did not stop within {wait_s:.0f} s; kill it")
        time.sleep(0.2)
    return True


def _end_dead(folder: Path, say: Callable[[str], None]) -> bool:
    if not (folder / "lock").is_file():
        return False
    with (folder / "lock").open("r+") as lock:
        return try_lock(lock) and end_leftovers(folder, say)


def _wait_until_ready(port: int, programs: Programs) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        programs.check()
        try:
            urllib.request.urlopen(f"http://{HOST}:{port}/api/health", timeout=2)
        except OSError:
            time.sleep(0.3)
            continue
        if programs.listens("server", port):  # and not another project's, which would get the deployments
            return
        time.sleep(0.3)
    raise RuntimeError(f"Prefect server did not answer on {HOST}:{port} within {_READY_S:.0f} s; try make ui PORT=4300")


def _stop_on(handler: Callable[..., object] | signal.Handlers) -> None:
    """Have `handler` for the signals that end a service; one that `nohup` has switched off stays so."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(name) is not signal.SIG_IGN:
            signal.signal(name, handler)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
