"""A PostgreSQL server of a test's own, on a free loopback port, gone with its files afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.service import free_port

NAME, PASSWORD = "watchline", "for-a-test"


def find_programs() -> Path | None:
    """Folder of initdb and pg_ctl, which Debian does not put on the path; None where there are none."""
    newest_first = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -float(path.parent.name))
    on_path = shutil.which("initdb")
    folders = [*([Path(on_path).resolve().parent] if on_path else []), *newest_first]
    return next((folder for folder in folders if (folder / "pg_ctl").exists()), None)


@contextmanager
def postgres(programs: Path) -> Iterator[str]:
    """The address of an empty database whose owner is no superuser, as a connection URL."""
    as_user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    folder, port = Path(tempfile.mkdtemp(prefix="postgres")), free_port()
    (folder / "password").write_text(PASSWORD)
    if as_user:  # it refuses to run as root
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres", "postgres")

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), *arguments]
        done = subprocess.run(
            command, cwd=folder, env={"PGPASSWORD": PASSWORD}, capture_output=True, text=True, timeout=120, **as_user
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"

    data = ["-D", str(folder / "data")]
    admin = ["-h", "127.0.0.1", "-p", str(port), "-U", "admin", "-d", "postgres"]
    run("initdb", *data, "-U", "admin", "--auth=scram-sha-256", f"--pwfile={folder}/password", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
    try:
        run("pg_ctl", *data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        role, database = f"CREATE ROLE {NAME} LOGIN PASSWORD '{PASSWORD}'", f"CREATE DATABASE {NAME} OWNER {NAME}"
        run("psql", *admin, "-c", role, "-c", database)
        yield f"postgresql+asyncpg://{NAME}:{PASSWORD}@127.0.0.1:{port}/{NAME}"
    finally:
        if (folder / "data/postmaster.pid").exists():
            run("pg_ctl", *data, "-m", "immediate", "stop")
        shutil.rmtree(folder)
