"""Where a project's service is: its lock, .prefect/service/lock, held by its process, with its addresses as content."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from pipelines.file_lock import try_lock

FOLDER = ".prefect/service"


@dataclass(frozen=True)
class Service:
    """A service: its process and where it answers, nowhere yet while it is starting."""

    pid: int
    ui: str = ""
    reports: str = ""

    def __str__(self) -> str:
        return f"Prefect UI  {self.ui}\nreports     {self.reports}/index.html"


def running(root: Path) -> Service | None:
    """The project's service; None where none runs, or it is not up yet."""
    service = service_of(root)
    return service if service is not None and service.ui else None


def service_of(root: Path) -> Service | None:
    """The project's service, also while it starts; None where none runs."""
    path = root / FOLDER / "lock"
    if not path.is_file():
        return None
    with path.open("r+") as lock:
        if try_lock(lock):
            return None
        try:
            return Service(**json.loads(lock.read()))
        except ValueError:
            return None


def write_service(lock: IO[str], service: Service) -> None:
    """Say in the lock that this process holds where the service is."""
    lock.truncate(0)
    lock.write(json.dumps(asdict(service)))
    lock.flush()
