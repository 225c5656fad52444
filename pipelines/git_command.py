"""One git command, its answer or its complaint."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path


class GitError(RuntimeError):
    """A git command failed; the message has what it said."""


def git(root: Path, *arguments: str, stdin: str = "", environment: Mapping[str, str] | None = None) -> str:
    """Standard output of `git` in `root`; raises GitError."""
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(
        ["git", *arguments], cwd=root, input=stdin, capture_output=True, text=True, env=variables, check=False
    )
    if done.returncode:
        raise GitError(f"git {' '.join(arguments[:4])} in {root}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
