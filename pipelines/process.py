"""Running one command with live lines, and stopping its whole process tree.

torchrun's ranks live in sessions of their own: a signal to the command, or to its group, leaves them running. So the
tree is listed before anything is signalled, and what is left of it after a grace period is killed. A process whose
parent was killed is in no tree any more: each command has a mark in its environment, by which what it left is found.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

GRACE_S = 5.0  # a cancel leaves nothing within ten seconds
COMMAND_MARK = "WATCHLINE_COMMAND"  # in the environment of every process of a command
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
    command: Sequence[str],
    cwd: Path,
    on_line: Callable[[str], None],
    timeout_s: float,
    grace_s: float = GRACE_S,
    keeps_worker: bool = False,
) -> Completed:
    """Run `command` in its own session, passing each line to `on_line` as it appears.

    On a timeout (CommandTimeoutError), a cancel, Ctrl-C or SIGTERM the whole process tree is gone before this returns,
    and so it is where the command itself was killed, or failed and left something running; with `keeps_worker` what is
    in no tree of the command stays, for DVC's queue has a worker that outlives it.
    """
    started = time.monotonic()
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        list(command),
        cwd=cwd,
        env={**os.environ, COMMAND_MARK: mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    lines: list[str] = []
    memory = _Memory(process.pid)
    failed = True
    try:
        for line in _read_lines(process, started + timeout_s, memory):
            lines.append(line)
            on_line(line)
        failed = process.wait() != 0
        return Completed(process.returncode, lines, time.monotonic() - started, memory.peak_bytes)
    finally:
        deadline = time.monotonic() + grace_s
        marked = _marked(COMMAND_MARK, mark) if failed and not keeps_worker else []
        if process.poll() is None:
            stop_tree(process.pid, grace_s, marked)
            process.wait()
        if failed and not keeps_worker:
            end_marked(COMMAND_MARK, mark, max(0.0, deadline - time.monotonic()))
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
            # A grandchild may hold the pipe open after the command ended; its output is of no interest.
            ended = process.poll() is not None
            if not selector.select(0 if ended else _POLL_S):
                if ended:
                    break
                continue
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                break
            *complete, buffer = (buffer + chunk).replace(b"\r", b"\n").split(b"\n")
            yield from (line.decode(errors="replace") for line in complete if line.strip())
    if buffer.strip():
        yield buffer.decode(errors="replace")


def stop_tree(pid: int, grace_s: float = GRACE_S, others: Iterable[psutil.Process] = ()) -> None:
    """End the process `pid`, its group, every descendant and `others`.

    SIGTERM once each, `grace_s` for all of them to finish, then SIGKILL.
    """
    try:
        root = psutil.Process(pid)
        tree = {root, *root.children(recursive=True), *others}
    except psutil.NoSuchProcess:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGTERM)
    stop_processes(tree, grace_s, signalled=pid)


def stop_processes(processes: Iterable[psutil.Process], grace_s: float = GRACE_S, signalled: int = 0) -> None:
    """End `processes`: SIGTERM (but to the group `signalled`, which had it), `grace_s` to finish, then SIGKILL."""
    processes = list(processes)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) != signalled:
                process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=grace_s)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5)


def end_marked(variable: str, value: str, grace_s: float = GRACE_S) -> list[int]:
    """End every process that was started with `variable` = `value` in its environment; returns their ids.

    They are looked for until there are none: one may start another while the first are ended.
    """
    ended: list[int] = []
    deadline = time.monotonic() + grace_s
    while found := _marked(variable, value):
        if set(ended) >= {process.pid for process in found}:
            break  # what a kill does not end waits in the kernel
        stop_processes(found, max(0.0, deadline - time.monotonic()))
        ended += [process.pid for process in found]
    return ended


def _marked(variable: str, value: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(variable) == value:
                found.append(process)
    return found
