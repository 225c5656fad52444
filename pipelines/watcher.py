"""A process that waits for the end of a run's process and, where that was killed, ends what it left at once.

python -m pipelines.watcher ROOT    # its standard input is a pipe from the run, which the kernel closes in any case
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

RUN_MARK = "WATCHLINE_RUN"  # in the environment of every command of a run
_CODE = Path(__file__).resolve().parent.parent
# A worker knows its runs by their variables, and would take the watcher for one of them.
_OF_THE_WORKER = "PREFECT__"


@contextlib.contextmanager
def watched(root: Path) -> Iterator[None]:
    """Have this process watched until the end of the block."""
    environment = {
        key: value for key, value in os.environ.items() if key != RUN_MARK and not key.startswith(_OF_THE_WORKER)
    }
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_CODE), environment.get("PYTHONPATH")]))
    with (root / "runs/workspace/watcher.log").open("ab") as log:  # the run's terminal may be gone when it speaks
        watcher = subprocess.Popen(
            [sys.executable, "-m", "pipelines.watcher", str(root.resolve())],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
    finally:
        watcher.communicate(b"done")


def main(root: Path) -> None:
    """Wait, then recover the workspace unless the run itself says that it is done."""
    if sys.stdin.buffer.read():
        return
    from pipelines.workspace import recover

    recover(root, lambda line: print(line, file=sys.stderr), keep_record=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
