"""A git repository with DVC around the files of a folder."""

from __future__ import annotations

import subprocess
from pathlib import Path


def start_repository(root: Path, **settings: str) -> Path:
    """Make `root` a git repository with DVC, its `settings` (core_autostage="true"), and all files in one commit."""
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (
        ["git", "init", "-q"],
        ["dvc", "init", "-q"],
        *(["dvc", "config", key.replace("_", ".", 1), value] for key, value in settings.items()),
        [*git, "add", "-A"],
        [*git, "commit", "-qm", "start"],
    ):
        subprocess.run(command, cwd=root, check=True)
    return root
