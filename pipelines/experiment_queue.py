"""Who may use DVC's experiment queue, which is one for the workspace; the line's own runs go on meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from pipelines.file_lock import Holder, read_holder, try_lock, wait_for, write_holder
from pipelines.interruptions import note

_EXPERIMENTS = "runs/workspace/experiments.lock"


@contextlib.contextmanager
def hold_experiments(
    root: Path, run: str, wait_s: float, say: Callable[[str], None], flow_run: str = ""
) -> Iterator[None]:
    """Hold the experiment queue of `root` and the folders of its results, as `hold` does with the workspace."""
    path = root / _EXPERIMENTS
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        wait_for(file, "the experiment queue", wait_s, say)
        write_holder(file, Holder.here(run, flow_run))
        try:
            yield
        finally:
            file.truncate(0)


def lost_experiments(root: Path) -> Holder | None:
    """The holder of the experiment queue that died, told once; None where there is none.

    What it left running goes on: the next run finds what the queue's worker finished.
    """
    path = root / _EXPERIMENTS
    if not path.is_file():
        return None
    with path.open("r+") as file:
        if not try_lock(file):
            return None
        dead = read_holder(file)
        file.truncate(0)
        if dead is not None:
            note(root, dead.run, f"{dead} ended without giving the experiment queue back")
        return dead
