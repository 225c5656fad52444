"""The line as a service on this machine: Prefect server, worker, deployments, report server, until it is told to stop.

One per project: the first holds .prefect/service/lock and has its addresses there; a second finds them. Programs that
die are started again. Everything listens on the loopback address, and every file is below .prefect.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.file_lock import try_lock
from pipelines.process import stop_tree
from pipelines.reports_server import HOST, REPORTS_URL, serve_reports

CODE = Path(__file__).resolve().parent.parent
POOL = "watchline"
_READY_S = 120.0
_POLL_S = 1.0
_STOP_GRACE_S = 8.0  # the server waits longer for browsers that are connected; its database bears a kill
_DEPLOY_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Service:
    """A running service: its process and where it answers."""

    pid: int
    ui: str
    reports: str

    def __str__(self) -> str:
        return f"Prefect UI  {self.ui}\nreports     {self.reports}/index.html"


def up(root: Path, port: int, reports_port: int, say: Callable[[str], None] = print) -> None:
    """Run the service until SIGTERM or Ctrl-C; where one runs already, say where and return.

    On the way out the process trees of server and worker are gone. Raises RuntimeError when a part does not start.
    """
    folder = root / ".prefect/service"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as lock:
        if not try_lock(lock):
            say(f"the service runs already\n{running(root) or 'it is just starting: ask again in a moment'}")
            return
        signal.signal(signal.SIGTERM, _interrupt)
        reports = serve_reports(root / "reports", reports_port)
        service = Service(os.getpid(), f"http://{HOST}:{port}", f"http://{HOST}:{reports.server_address[1]}")
        environment = {
            **os.environ,
            REPORTS_URL: service.reports,
            "WATCHLINE_CODE": str(CODE),
            "WATCHLINE_ROOT": str(root),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(CODE), os.environ.get("PYTHONPATH")])),
        }
        programs = Programs(folder, environment, say)
        try:
            programs.start("server", ["prefect", "server", "start", "--host", HOST, "--port", str(port)])
            _wait_until_ready(port, programs)
            _deploy(environment, folder)
            programs.start("worker", ["prefect", "worker", "start", "--pool", POOL, "--name", POOL])
            _write(lock, service)
            say(str(service))
            from pipelines.lost_runs import LostRuns  # it brings prefect, which callers of `running` do without

            lost = LostRuns(root, say)
            while True:
                time.sleep(_POLL_S)
                programs.restart_dead()
                lost.look()
        except KeyboardInterrupt:
            say("stopping")
        finally:
            programs.stop()
            reports.shutdown()
            lock.truncate(0)


def down(root: Path, wait_s: float = 90.0) -> bool:
    """Stop the project's service and wait until it is gone; False where none ran. Raises TimeoutError."""
    service = running(root)
    if service is None:
        return False
    os.kill(service.pid, signal.SIGTERM)
    deadline = time.monotonic() + wait_s
    while running(root) is not None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the service, process {service.pid}, did not stop within {wait_s:.0f} s; kill it")
        time.sleep(0.2)
    return True


def running(root: Path) -> Service | None:
    """The project's service; None where none runs, or it is not up yet."""
    path = root / ".prefect/service/lock"
    if not path.is_file():
        return None
    with path.open("r+") as lock:
        if try_lock(lock):
            return None
        try:
            return Service(**json.loads(lock.read()))
        except ValueError:
            return None


class Programs:
    """Programs of the service, each with a log in `folder`; those that die are started again."""

    def __init__(self, folder: Path, environment: Mapping[str, str], say: Callable[[str], None]) -> None:
        self.folder, self.environment, self.say = folder, environment, say
        self.commands: dict[str, list[str]] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: list[str]) -> None:
        """Start a program in a session of its own."""
        self.commands[name] = command
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=self.environment
            )

    def restart_dead(self) -> None:
        """Start again what has ended."""
        for name, process in list(self.processes.items()):
            if process.poll() is not None:
                self.say(f"{name} ended with status {process.returncode}; starting it again ({self.folder}/{name}.log)")
                self.start(name, self.commands[name])

    def check(self) -> None:
        """Raise RuntimeError, with the end of its log, for a program that has ended."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                tail = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-12:]
                raise RuntimeError(f"{name} ended with status {process.returncode}:\n" + "\n".join(tail))

    def stop(self) -> None:
        """End all process trees, the newest program's first."""
        for process in reversed(self.processes.values()):
            stop_tree(process.pid, _STOP_GRACE_S)
            process.wait()


def _wait_until_ready(port: int, programs: Programs) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        programs.check()
        try:
            urllib.request.urlopen(f"http://{HOST}:{port}/api/health", timeout=2)
            return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError(f"Prefect server did not answer on {HOST}:{port} within {_READY_S:.0f} s; try make ui PORT=4300")


def _deploy(environment: Mapping[str, str], folder: Path) -> None:
    """Work pool and deployments of prefect.yaml, as they are now."""
    pool = ["prefect", "work-pool", "create", POOL, "--type", "process", "--overwrite"]
    deploy = ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", "pipelines/prefect.yaml"]
    for command in (pool, deploy):
        done = subprocess.run(
            command, cwd=CODE, env=environment, capture_output=True, text=True, timeout=_DEPLOY_TIMEOUT_S, check=False
        )
        (folder / "deploy.log").open("a").write(done.stdout + done.stderr)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _write(lock, service: Service) -> None:  # type: ignore[no-untyped-def]
    lock.truncate(0)
    lock.write(json.dumps(asdict(service)))
    lock.flush()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
