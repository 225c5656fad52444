"""Says by its exit status whether nobody works in the project: `make clean` asks, without the environment."""

import fcntl
import sys
from pathlib import Path

LOCKS = {
    ".prefect/service/lock": "the service runs (`make ui-down` stops it)",
    "runs/workspace/lock": "a run holds the workspace",
    "runs/workspace/experiments.lock": "a leaderboard or search runs",
}


def busy(root: Path) -> str:
    """Who works in the project; '' for nobody."""
    for name, who in LOCKS.items():
        if (root / name).is_file():
            with (root / name).open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return who
    return ""


if __name__ == "__main__":
    sys.exit(f"error: {who}; stop it or wait for it first" if (who := busy(Path.cwd())) else 0)
