"""One stage of dvc.yaml as one Prefect task: `dvc repro STAGE` with live logs, and what it cost."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed

from pipelines.process import run_lines

# DVC's two answers to a workspace that another command holds, and what it or torchrun says of a process that was
# killed from outside. Everything else a stage can say is its own failure, which would only fail again.
BUSY = ("Unable to acquire lock", "is busy")
_LOST = ("exited with -9", "exited with 137", "Signal 9 (SIGKILL)")
_KILLED = -9
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


class StageError(RuntimeError):
    """A stage ended with an error; the message carries its last lines."""


class WorkspaceBusyError(StageError):
    """Another DVC command holds this workspace."""


class LostWorkerError(StageError):
    """A process of the stage was killed from outside: by the kernel for its memory, or by hand."""


@dataclass(frozen=True)
class StageResult:
    """How a stage went: its address in dvc.yaml, whether DVC had it cached, rows, wall seconds, peak memory."""

    stage: str
    cached: bool
    seconds: float
    peak_bytes: int
    rows: int | None = None


def is_worth_a_retry(_task: Any, _run: Any, state: Any) -> bool:
    """Whether a stage failed for a reason outside itself."""
    return isinstance(state.result(raise_on_failure=False), WorkspaceBusyError | LostWorkerError)


@task(retries=3, retry_delay_seconds=[5, 15, 45], retry_condition_fn=is_worth_a_retry, persist_result=False)
def reproduce(stage: str, root: Path, timeout_s: float, alone: bool) -> State[StageResult]:
    """Run `dvc repro STAGE`; the task ends in the state Completed, or Cached where DVC had the stage already.

    `alone`: without a look at the stages before it.
    Raises StageError with the last lines; of its kinds, WorkspaceBusyError and LostWorkerError are retried.
    """
    logger = get_run_logger()
    command = ["dvc", "repro", *(["--single-item"] if alone else []), stage]
    done = run_lines(command, root, logger.info, timeout_s)
    if done.returncode == 0:
        cached = f"Running stage '{stage}':" not in done.lines
        result = StageResult(stage, cached, done.seconds, done.peak_bytes, rows_of(root, stage))
        return Completed(name="Cached" if cached else "Completed", message=describe(result), data=result)
    tail = "\n".join(done.lines[-15:])
    raise _kind(done.returncode, tail)(
        f"stage {stage} failed ({' '.join(command)}: exit {done.returncode}); last lines:\n{tail}"
    )


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


def _kind(returncode: int, tail: str) -> type[StageError]:
    if any(mark in tail for mark in BUSY):
        return WorkspaceBusyError
    if returncode == _KILLED or any(mark in tail for mark in _LOST):
        return LostWorkerError
    return StageError
