"""A redis-server of a test's own: a free port of 127.0.0.1, nothing written to disk, stopped by its process id."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MISSING = "redis-server is not installed (apt-get install redis-server)"
_PATIENCE_S = 10.0


def installed() -> bool:
    """Whether a redis-server is on the path."""
    return shutil.which("redis-server") is not None


@contextmanager
def redis_server(directory: Path) -> Iterator[int]:
    """The port of a server that runs within the block."""
    port = _free_port()
    settings = {"bind": "127.0.0.1", "port": port, "save": "", "appendonly": "no", "dir": directory}
    arguments = [str(word) for name, value in settings.items() for word in (f"--{name}", value)]
    with (directory / "redis.log").open("w") as log:
        server = subprocess.Popen(["redis-server", *arguments], stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_for(port, server, directory / "redis.log")
        yield port
    finally:
        server.terminate()
        server.wait(timeout=_PATIENCE_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                client.sendall(b"PING\r\n")
                if client.recv(7) == b"+PONG\r\n":
                    return
        time.sleep(0.02)
    raise RuntimeError(f"redis-server did not answer on port {port}: {log.read_text()[-500:]}")
