"""Programs of the service: started, watched, started again when they die, ended with all their processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipelines.ports import listens
from pipelines.process import stop_tree

SERVICE_MARK = "WATCHLINE_SERVICE"  # in the environment of every program of a service: its folder
MAX_LOG_BYTES = 16_000_000
_STEADY_S = 60.0  # what ran that long and dies is started again at once
_LONGEST_PAUSE_S = 60.0
_STOP_GRACE_S = 8.0  # the server waits longer for browsers that are connected; its database bears a kill


@dataclass
class _Program:
    command: list[str]
    may_start: Callable[[], None]
    hidden: tuple[str, ...]
    process: subprocess.Popen[bytes]
    started: float
    pause_s: float = 0.0
    due: float | None = None  # when a dead one is started again


class Programs:
    """Programs of the service, each with a log in `folder`; those that die are started again, after longer pauses."""

    def __init__(self, folder: Path, environment: Mapping[str, str], say: Callable[[str], None]) -> None:
        self.folder, self.say = folder, say
        self.environment = {**environment, SERVICE_MARK: str(folder.resolve())}
        self.programs: dict[str, _Program] = {}

    def start(
        self,
        name: str,
        command: list[str],
        may_start: Callable[[], None] = lambda: None,
        hidden: tuple[str, ...] = (),
    ) -> None:
        """Start a program in a session of its own; `may_start` raises what speaks against it, each time.

        Variables whose names begin with one of `hidden` are not in its environment.
        """
        may_start()
        environment = {key: value for key, value in self.environment.items() if not key.startswith(hidden)}
        with self.log_of(name).open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment
            )
        before = self.programs.get(name)
        pause_s = before.pause_s if before else 0.0
        self.programs[name] = _Program(command, may_start, hidden, process, time.monotonic(), pause_s)

    def log_of(self, name: str) -> Path:
        """Where a program's lines go."""
        return self.folder / f"{name}.log"

    def listens(self, name: str, port: int) -> bool:
        """Whether it is the program `name` that listens on `port`."""
        return listens(self.programs[name].process.pid, port)

    def look(self) -> None:
        """Start again what has ended, at once or after a pause that doubles while it dies young; shorten long logs."""
        now = time.monotonic()
        for name, program in list(self.programs.items()):
            self._shorten(self.log_of(name))
            if program.process.poll() is None:
                continue
            if program.due is None:
                steady = now - program.started > _STEADY_S
                program.pause_s = 0.0 if steady else min(_LONGEST_PAUSE_S, max(1.0, 2 * program.pause_s))
                program.due = now + program.pause_s
                when = f" in {program.pause_s:.0f} s" if program.pause_s else ""
                status = program.process.returncode
                self.say(f"{name} ended with status {status}; starting it again{when} ({self.log_of(name)})")
            if now >= program.due:
                self.start(name, program.command, program.may_start, program.hidden)

    def check(self) -> None:
        """Raise RuntimeError, with the end of its log, for a program that has ended."""
        for name, program in self.programs.items():
            if program.process.poll() is not None:
                tail = self.log_of(name).read_text(errors="replace").splitlines()[-12:]
                raise RuntimeError(f"{name} ended with status {program.process.returncode}:\n" + "\n".join(tail))

    def stop(self) -> None:
        """End all process trees, the newest program's first, and what one that died left running."""
        for program in reversed(self.programs.values()):
            if program.process.poll() is None:
                stop_tree(program.process.pid, _STOP_GRACE_S)
                program.process.wait()
        end_leftovers(self.folder, self.say)

    def _shorten(self, log: Path) -> None:
        """Keep the last full log beside the present one, which the program appends to all the time."""
        with contextlib.suppress(OSError):  # removed by hand: the next start makes it again
            if log.stat().st_size > MAX_LOG_BYTES:
                with contextlib.suppress(OSError):  # a full disk, which the service outlives; the room is needed then
                    shutil.copyfile(log, log.with_suffix(".log.old"))
                os.truncate(log, 0)


def end_leftovers(folder: Path, say: Callable[[str], None]) -> bool:
    """End programs of a service that are in nobody's care: server, worker, flows. Whether there was something."""
    found = {process.pid: process for process in psutil.process_iter() if _is_program(process, str(folder.resolve()))}
    for process in sorted(found.values(), key=psutil.Process.create_time, reverse=True):  # a worker before its server
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.ppid() not in found:  # the others are in the tree of one of these
                say(f"ending process {process.pid}, which the service left running")
                stop_tree(process.pid, _STOP_GRACE_S)
    return bool(found)


def _is_program(process: psutil.Process, mark: str) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        return process.environ().get(SERVICE_MARK) == mark and any("prefect" in word for word in process.cmdline())
    return False
