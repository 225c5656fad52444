"""The service of a project in a process of its own, for tests."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
_SERVE = """
import sys
from pathlib import Path
from pipelines.__main__ import configure_environment
root, port, reports_port = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
configure_environment(root, port)
from pipelines.service import up
up(root, port, reports_port)
"""
COMMAND = [sys.executable, "-c", _SERVE]


@dataclass(frozen=True)
class Serving:
    """A started service: it may not answer yet."""

    process: subprocess.Popen[bytes]
    ui: str
    reports: str

    @property
    def api(self) -> str:
        """Address of the server's API."""
        return f"{self.ui}/api"


@contextmanager
def serving(project: Path, log: Path) -> Iterator[Serving]:
    """The service of `project` on free ports, what it says in `log`; ended on leaving."""
    port, reports_port = free_port(), free_port()
    command = [*COMMAND, str(project), str(port), str(reports_port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=log.open("w"))
    try:
        yield Serving(process, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{reports_port}")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def lives(process: psutil.Process) -> bool:
    """Whether a process still runs; one that only waits to be reaped does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
