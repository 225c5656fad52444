"""Copies of a result off this machine: outputs to the DVC remote, the record to the git remote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefect import task

from pipelines.git_command import git
from pipelines.process import run_lines

GIT_REMOTE = "origin"
_TIMEOUT_S = 6 * 3600.0


class PushError(RuntimeError):
    """A remote did not take everything; what it lacks is safe in the workspace's cache and git."""


@task(task_run_name="push", retries=3, retry_delay_seconds=[10, 60, 300], persist_result=False)
def push(root: Path, stages: Sequence[str], refs: Sequence[str]) -> list[str]:
    """Push outputs and run cache of `stages` and the git `refs` to the remotes that there are; returns their names.

    Retried, since most failures are of the network or of a lock. Raises PushError.
    """
    reached = []
    if remote := dvc_remote(root):
        done = run_lines(["dvc", "push", "--run-cache", *stages], root, print, _TIMEOUT_S)
        if done.returncode:
            raise PushError(_complaint(f"DVC remote {remote}", "dvc push", done.lines))
        reached.append(f"DVC remote {remote}")
    if GIT_REMOTE in git(root, "remote").split():
        done = run_lines(["git", "push", "--force", GIT_REMOTE, *(f"{ref}:{ref}" for ref in refs)], root, print, 600.0)
        if done.returncode:
            raise PushError(_complaint(f"git remote {GIT_REMOTE}", "git push", done.lines))
        reached.append(f"git remote {GIT_REMOTE}")
    return reached


def dvc_remote(root: Path) -> str | None:
    """Name of the default DVC remote, None where the project has none."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        return repo.config["core"].get("remote")


def _complaint(what: str, command: str, lines: Sequence[str]) -> str:
    tail = "\n".join(lines[-8:])
    return (
        f"{what} did not take the result ({command}); it is whole in this workspace, and the same run again pushes it. "
        f"Last lines:\n{tail}"
    )
