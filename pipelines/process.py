"""Running one command with live lines, and stopping its whole process tree.

torchrun's ranks live in sessions of their own: a signal to the command, or to its group, leaves them running. So the
tree is listed before anything is signalled, and what is left of it after a grace period is killed.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

GRACE_S = 20.0
_POLL_S = 0.5
_LOOK_S = 1.0


class CommandTimeoutError(RuntimeError):
    """The command ran past its limit and was stopped."""


@dataclass(frozen=True)
class Completed:
    """What a finished command left: its exit status, its lines (stdout and stderr in order), its cost."""

    returncode: int
    lines: list[str]
    seconds: float
    peak_bytes: int  # largest sum of resident sizes over the process tree, seen once a second


class _Memory:
    """Peak of the resident memory of a process tree; pages that processes share count for each of them."""

    def __init__(self, pid: int) -> None:
        self.pid, self.peak_bytes, self.next_look = pid, 0, 0.0
        self.pause_s = 0.1  # a command may be over within a second: the first looks follow each other quickly

    def look(self) -> None:
        """Measure, unless it was done just now: soon after the start, then once a second."""
        if time.monotonic() < self.next_look:
            return
        total = 0
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.pid)
            for process in (root, *root.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    total += process.memory_info().rss
        self.peak_bytes = max(self.peak_bytes, total)
        self.next_look = time.monotonic() + self.pause_s
        self.pause_s = min(_LOOK_S, 2 * self.pause_s)


def run_lines(
    command: Sequence[str], cwd: Path, on_line: Callable[[str], None], timeout_s: float, grace_s: float = GRACE_S
) -> Completed:
    """Run `command` in its own session, passing each line to `on_line` as it appears.

    On a timeout (CommandTimeoutError), a cancel, Ctrl-C or SIGTERM the whole process tree is gone before this returns.
    """
    started = time.monotonic()
    process = subprocess.Popen(
        list(command),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    lines: list[str] = []
    memory = _Memory(process.pid)
    try:
        for line in _read_lines(process, started + timeout_s, memory):
            lines.append(line)
            on_line(line)
        return Completed(process.wait(), lines, time.monotonic() - started, memory.peak_bytes)
    except BaseException:
        stop_tree(process.pid, grace_s)
        process.wait()
        raise
    finally:
        assert process.stdout is not None
        process.stdout.close()


def _read_lines(process: subprocess.Popen[bytes], deadline: float, memory: _Memory):  # type: ignore[no-untyped-def]
    """Yield decoded lines until the pipe closes; progress bars' carriage returns end a line too."""
    assert process.stdout is not None
    buffer = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            memory.look()
            if time.monotonic() > deadline:
                raise CommandTimeoutError(f"{process.args!r} was stopped: it ran past its time limit")
            if not selector.select(_POLL_S):
                # A grandchild may hold the pipe open after the command ended; its output is of no interest.
                if process.poll() is not None:
                    break
                continue
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                break
            *complete, buffer = (buffer + chunk).replace(b"\r", b"\n").split(b"\n")
            yield from (line.decode(errors="replace") for line in complete if line.strip())
    if buffer.strip():
        yield buffer.decode(errors="replace")


def stop_tree(pid: int, grace_s: float = GRACE_S) -> None:
    """End the process `pid`, its group and every descendant: SIGTERM once each, `grace_s` to finish, then SIGKILL."""
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGTERM)
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) != pid:
                process.terminate()
    _, alive = psutil.wait_procs(tree, timeout=grace_s)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
