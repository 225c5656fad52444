"""Ports of the loopback address: whether one is free, and whose it is."""

from __future__ import annotations

import contextlib
import socket

import psutil

HOST = "127.0.0.1"


class PortTakenError(RuntimeError):
    """Another program listens on a port that the service needs; the message says which, and what to do."""


def require_free(port: int, what: str, option: str) -> None:
    """Raise PortTakenError unless `what` can listen on `port`, set by `make`'s variable `option`; 0 is any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: connections just closed hold none
        try:
            probe.bind((HOST, port))
        except OSError as error:
            other = holder_of(port) or str(error.strerror)
            advice = f"stop that, or choose another port: make ui {option}={port + 100}"
            raise PortTakenError(f"{what} cannot listen on {HOST}:{port} ({other}); {advice}") from None


def holder_of(port: int) -> str | None:
    """Who listens on `port`, in words; None where that is another user's program, or nobody."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                process = psutil.Process(connection.pid)
                return f"process {process.pid}, `{process.name()}`, listens there"  # arguments may hold a password
    return None


def listens(pid: int, port: int) -> bool:
    """Whether the process `pid` or one that it started listens on `port`."""
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                found = process.net_connections("tcp")
                if any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in found):
                    return True
    return False
