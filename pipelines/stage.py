"""One stage of dvc.yaml as one Prefect task: `dvc repro STAGE` with live logs, and what it cost."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.runtime import task_run
from prefect.states import Completed

from pipelines.cache_check import remove_corrupt
from pipelines.git_command import GitError
from pipelines.leftovers import clear_leftovers
from pipelines.process import Completed as Done
from pipelines.process import run_lines
from pipelines.stage_errors import DiskFullError, LostWorkerError, StageError, WorkspaceBusyError, error_of

__all__ = ["DiskFullError", "LostWorkerError", "StageError", "StageResult", "WorkspaceBusyError", "run_stage"]

_FROM_CACHE = re.compile(r"Stage '(.+)' is cached - skipping run, checking out outputs")
# Where a stage's reports/STAGE/metrics.json says how many rows it worked on.
_ROWS = {
    "ingest": "rows.exposures",
    "validate": "rows.exposures.clean",
    "features": "rows",
    "train": "train.rows",
    "finetune": "rows.train",
    "evaluate": "models.*.rows",
    "abtest": "asked.requests",
    "drift": "num_rows",
}


@dataclass(frozen=True)
class StageResult:
    """How a stage went: its address in dvc.yaml, whether DVC had it cached, rows, wall seconds, peak memory."""

    stage: str
    cached: bool
    seconds: float
    peak_bytes: int
    rows: int | None = None
    starts: int = 1  # more than one: a process of it was killed, or DVC was busy


def is_worth_a_retry(_task: Any, _run: Any, state: Any) -> bool:
    """Whether a stage failed for a reason outside itself."""
    return isinstance(state.result(raise_on_failure=False), WorkspaceBusyError | LostWorkerError)


@task(retries=3, retry_delay_seconds=[5, 15, 45], retry_condition_fn=is_worth_a_retry, persist_result=False)
def reproduce(stage: str, root: Path, timeout_s: float, alone: bool) -> State[StageResult]:
    """Run `dvc repro STAGE`; the task ends in the state Completed, or Cached where DVC had the stage already.

    `alone`: without a look at the stages before it. Outputs that come out of DVC's cache are checked: DVC itself takes
    a cached file for what its name says. Raises StageError with the last lines; of its kinds, WorkspaceBusyError and
    LostWorkerError are retried.
    """
    logger = get_run_logger()
    lock = _read(root / "dvc.lock")
    command = ["dvc", "repro", *(["--single-item"] if alone else []), stage]
    try:
        done = run_lines(command, root, logger.info, timeout_s)
        if done.returncode == 0 and remove_corrupt(root, _restored(done), logger.warning):
            done = run_lines(command, root, logger.info, timeout_s)
    except BaseException:  # a time limit, a cancel: DVC was ended amid its files
        with contextlib.suppress(OSError, GitError):
            _clear_up(root, lock, logger.warning)
        raise
    if done.returncode == 0:
        cached = f"Running stage '{stage}':" not in done.lines
        rows, starts = rows_of(root, stage), task_run.run_count or 1
        result = StageResult(stage, cached, done.seconds, done.peak_bytes, rows, starts)
        return Completed(name="Cached" if cached else "Completed", message=describe(result), data=result)
    error = error_of(stage, done, root)
    if isinstance(error, LostWorkerError | DiskFullError):
        _clear_up(root, lock, logger.warning)
    raise error


def run_stage(stage: str, root: Path, timeout_s: float, alone: bool = False, **options: Any) -> StageResult:
    """`reproduce` as a task of the stage's own name, with Prefect's `options`; raises what it raises.

    `alone`: this run has seen to the stages before it, so that DVC need not (half a second each).
    """
    named = reproduce.with_options(name=stage, task_run_name=stage, **options)
    return named(stage, root, timeout_s, alone, return_state=True).result()


def describe(result: StageResult) -> str:
    """The result in a line, for the state's message."""
    rows = "" if result.rows is None else f", {result.rows:,} rows"
    return f"{result.seconds:.1f} s, peak {result.peak_bytes / 1e6:,.0f} MB{rows}"


def rows_of(root: Path, stage: str) -> int | None:
    """Rows that a stage worked on, as its metrics.json says; None where it says nothing."""
    path = root / "reports" / stage.replace("@", "/") / "metrics.json"
    keys = _ROWS.get(stage.split("@")[0])
    if keys is None or not path.is_file():
        return None
    value: Any = json.loads(path.read_text(encoding="utf-8"))
    for key in keys.split("."):
        if not isinstance(value, dict):
            return None
        value = next(iter(value.values()), None) if key == "*" else value.get(key)
    return value if isinstance(value, int) else None


def _clear_up(root: Path, lock: bytes | None, say: Callable[[str], None]) -> None:
    """Make a next start possible: no locks of the dead, and a whole dvc.lock, which DVC writes in place."""
    clear_leftovers(root, say)
    if lock is not None and _read(root / "dvc.lock") != lock:
        (root / "dvc.lock.partial").write_bytes(lock)
        (root / "dvc.lock.partial").replace(root / "dvc.lock")
    elif lock is None:
        (root / "dvc.lock").unlink(missing_ok=True)


def _restored(done: Done) -> list[str]:
    """Stages whose outputs DVC took from its cache."""
    return [match[1] for line in done.lines if (match := _FROM_CACHE.match(line))]


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
