"""One thin module per stage of dvc.yaml: params and input paths -> core -> output paths."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# What a wrong parameter, a missing file or a broken row raises: the message alone is the answer. Anything else is a
# defect of the code and keeps its traceback.
_EXPECTED_ERRORS = (ValueError, KeyError, OSError)

RUNS_VARIABLE = "WATCHLINE_RUNS"


def log(message: str) -> None:
    """Print one whole line, so that the lines of several processes never mix."""
    sys.stdout.write(message.rstrip("\n") + "\n")
    sys.stdout.flush()


def runs_folder(stage: str) -> Path:
    """Where a stage keeps what is no output: checkpoints, and how long fits took.

    `runs/STAGE` of the project, or of the folder that the environment names in RUNS_VARIABLE: queued experiments run in
    copies of the project that are removed, and a killed one goes on where it was when all copies share one folder.
    Raises ValueError for a path that is not absolute, which every copy would read as its own.
    """
    named = os.environ.get(RUNS_VARIABLE)
    if named and not Path(named).is_absolute():
        raise ValueError(
            f"{RUNS_VARIABLE}={named}: must be an absolute path, for all copies of the project to share it"
        )
    return Path(named or "runs") / stage


class RankError(ValueError):
    """An expected failure, with the process it happened in."""


@contextmanager
def naming_rank(stage: str) -> Iterator[None]:
    """Name the process in every error that leaves the block: of several processes' messages it tells whose is whose."""
    where = f"{stage}, rank {os.environ.get('RANK', '0')} of {os.environ.get('WORLD_SIZE', '1')}"
    try:
        yield
    except _EXPECTED_ERRORS as error:
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise RankError(f"{where}: {text}") from error
    except Exception as error:
        error.add_note(where)
        raise


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage as a program: an expected failure becomes one message on stderr and exit status 1."""
    try:
        main()
    except _EXPECTED_ERRORS as error:
        if os.environ.get("WATCHLINE_TRACEBACK"):
            raise
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        sys.stderr.write(f"error: {message}\n")
        sys.exit(1)
