"""Nobody removes files under a service or a run."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.idle import LOCKS

SCRIPT = Path(__file__).resolve().parents[3] / "pipelines/idle.py"


@pytest.mark.parametrize("name", LOCKS)
def test_whoever_holds_a_lock_is_named_and_a_lock_of_nobody_is_none(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True)
    with (tmp_path / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        held = subprocess.run([sys.executable, SCRIPT], cwd=tmp_path, capture_output=True, text=True)
        assert held.returncode == 1 and held.stderr == f"error: {LOCKS[name]}; stop it or wait for it first\n"
    assert subprocess.run([sys.executable, SCRIPT], cwd=tmp_path).returncode == 0
