"""One stage of dvc.yaml as one Prefect task: `dvc repro STAGE` with live logs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.logging import get_run_logger

from pipelines.process import run_lines

# DVC's two answers to a workspace that another run holds. Everything else a stage can say is its own failure,
# which would only fail again.
_BUSY = ("Unable to acquire lock", "is busy")


class StageError(RuntimeError):
    """A stage ended with an error; the message carries its last lines."""


class WorkspaceBusyError(StageError):
    """Another DVC command holds this workspace."""


@dataclass(frozen=True)
class StageResult:
    """How a stage went: its address in dvc.yaml, whether DVC had it cached, wall seconds."""

    stage: str
    cached: bool
    seconds: float


def _is_busy(_task: Any, _run: Any, state: Any) -> bool:
    return isinstance(state.result(raise_on_failure=False), WorkspaceBusyError)


@task(retries=3, retry_delay_seconds=[5, 15, 45], retry_condition_fn=_is_busy, persist_result=False)
def reproduce(stage: str, root: Path, timeout_s: float) -> StageResult:
    """Run `dvc repro STAGE`.

    Raises StageError with the last lines, WorkspaceBusyError (retried) when another run holds the workspace.
    """
    logger = get_run_logger()
    done = run_lines(["dvc", "repro", stage], root, logger.info, timeout_s)
    if done.returncode == 0:
        cached = f"Running stage '{stage}':" not in done.lines
        return StageResult(stage, cached, done.seconds)
    tail = "\n".join(done.lines[-15:])
    kind = WorkspaceBusyError if any(mark in tail for mark in _BUSY) else StageError
    raise kind(f"stage {stage} failed (dvc repro {stage}: exit {done.returncode}); last lines:\n{tail}")
