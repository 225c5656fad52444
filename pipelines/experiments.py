"""DVC's experiment queue: what is in it, running it to its end with live lines, stopping all of it.

A worker of the queue is a process of its own that outlives whoever started it: the next run finds what it finished. One
that died (a reboot, a kill) leaves its task "Running" for ever, which DVC's own `--run-all` waits for: such tasks are
marked as failed first.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from pipelines.process import run_lines, stop_tree

RUNNING, QUEUED, FAILED = "Running", "Queued", "Failed"
_REF = re.compile(r"^(\w+) refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(.+)$", flags=re.M)
_COMMAND_TIMEOUT_S = 600.0


class ExperimentError(RuntimeError):
    """An experiment that could not be queued, or the queue could not be run; the message has DVC's last lines."""


def dvc(root: Path, *arguments: str) -> list[str]:
    """Run one short DVC command and return its lines; raises ExperimentError with the last of them."""
    done = run_lines(["dvc", *arguments], root, lambda _: None, _COMMAND_TIMEOUT_S)
    if done.returncode:
        tail = "\n".join(done.lines[-15:])
        raise ExperimentError(f"dvc {' '.join(arguments[:3])} failed (exit {done.returncode}); last lines:\n{tail}")
    return done.lines


def finished(root: Path) -> dict[str, str]:
    """Name -> commit of every experiment that succeeded."""
    command = ["git", "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps"]
    refs = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    return {name: commit for commit, name in _REF.findall(refs)}


def statuses(root: Path) -> dict[str, str]:
    """Name -> Queued, Running, Failed or Success of what the queue holds; internal to DVC, and nowhere else used."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        return {task["name"]: task["status"] for task in repo.experiments.celery_queue.status()}


def has_worker(root: Path) -> bool:
    """Whether a worker of the queue answers."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        return bool(repo.experiments.celery_queue.worker_status())


def enqueue(root: Path, name: str, overrides: Sequence[str], target: str) -> None:
    """Queue the stages up to `target` with Hydra `overrides`, unless they are queued or running under that name.

    A failed one of the name makes way. Raises ExperimentError.
    """
    status = statuses(root).get(name)
    if status in (QUEUED, RUNNING):
        return
    if status is not None:
        dvc(root, "queue", "remove", name)
    settings = [word for override in overrides for word in ("-S", override)]
    dvc(root, "exp", "run", "--queue", "--name", name, *settings, target)


def clear_dead(root: Path) -> None:
    """Mark as failed what runs according to the queue, but has no worker any more."""
    running = [name for name, status in statuses(root).items() if status == RUNNING]
    if running and not has_worker(root):
        dvc(root, "queue", "kill", *running)


def run_queue(root: Path, on_line: Callable[[str], None], timeout_s: float) -> None:
    """Run everything in the queue, one after another; a failure of an experiment is no error here.

    On a timeout (CommandTimeoutError), a cancel, Ctrl-C or SIGTERM the running experiment's processes and the worker
    are gone before this returns; what waits stays queued. Raises ExperimentError when the queue itself fails.
    """
    try:
        done = run_lines(["dvc", "exp", "run", "--run-all"], root, on_line, timeout_s, keeps_worker=True)
    except BaseException:
        stop_queue(root)
        raise
    if done.returncode:
        raise ExperimentError("dvc exp run --run-all failed; last lines:\n" + "\n".join(done.lines[-15:]))


def stop_queue(root: Path) -> None:
    """Stop the worker after its present task, and end that task's whole process tree, which DVC alone would leave."""
    dvc(root, "queue", "stop")
    for pid in _running_pids(root):
        stop_tree(pid)
    with contextlib.suppress(ExperimentError):  # nothing is left to kill, most of the time
        clear_dead(root)


def _running_pids(root: Path) -> list[int]:
    """Processes that run an experiment of the queue."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        queue = repo.experiments.celery_queue
        found = [queue.proc.get(entry.stash_rev) for entry in queue.iter_active()]
        return [info.pid for info in found if info is not None and info.returncode is None]


def last_lines(root: Path, name: str, count: int = 6) -> list[str]:
    """The end of what an experiment printed."""
    try:
        lines = dvc(root, "queue", "logs", name)
    except ExperimentError as error:
        lines = str(error).splitlines()
    told = [line for line in lines if line.strip() and not line.startswith("WARNING: No file hash info")]
    return list(dict.fromkeys(told[-count:]))
