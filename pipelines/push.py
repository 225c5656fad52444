"""Copies of a result off this machine: outputs to the DVC remote, the record to the git remote."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from prefect import task

from pipelines.experiments import finished
from pipelines.git_command import git
from pipelines.process import run_lines

GIT_REMOTE = "origin"
REGISTRY_BRANCH = "watchline-registry"
_REASON = re.compile(r"\[Errno \d+\] [^:'\n]+")
_PUSH_COMMITS = Path(__file__).with_name("push_commits.py")
_TIMEOUT_S = 6 * 3600.0


class PushError(RuntimeError):
    """A remote did not take everything; what it lacks is safe in the workspace's cache and git."""


@task(task_run_name="push", retries=3, retry_delay_seconds=[10, 60, 300], persist_result=False)
def push(root: Path, stages: Sequence[str], refs: Sequence[str]) -> list[str]:
    """Push outputs and run cache of `stages` and the git `refs` to the remotes that there are; returns their names.

    Retried, since most failures are of the network or of a lock. Raises PushError.
    """
    # Once a run is over, its dvc.lock is in its record, and no longer where `dvc push` reads it.
    remedy = "the same run once more, or `dvc exp apply` of it and `dvc push --run-cache`"
    reached = _push_dvc(root, ["--run-cache", *stages], remedy)
    return [*reached, *_push_git(root, _refspecs(refs))]


@task(task_run_name="push-records", retries=3, retry_delay_seconds=[10, 60, 300], persist_result=False)
def push_records(root: Path, names: Sequence[str], branch: str | None) -> list[str]:
    """Push what the remotes lack of the experiments `names`, of runs that are long over, and `branch`; returns remotes.

    The workspace holds the outputs of one run at most: outputs come from DVC's cache. Raises PushError.
    """
    command = [sys.executable, str(_PUSH_COMMITS), *(finished(root)[name] for name in names)]
    reached = _push_dvc(root, [], "the same backfill once more", command)
    patterns = [f"refs/exps/*/*/{name}" for name in names]
    refs = git(root, "for-each-ref", "--format=%(refname)", *patterns).split()
    return [*reached, *_push_git(root, _refspecs([*refs, *([f"refs/heads/{branch}"] if branch else [])]))]


@task(task_run_name="push-registry", retries=3, retry_delay_seconds=[10, 60, 300], persist_result=False)
def push_registry(root: Path) -> list[str]:
    """Push the files of the registry's versions to the DVC remote, and HEAD, which has the gate's commits, to git's.

    HEAD goes to the branch REGISTRY_BRANCH. Nothing where nothing was promoted yet. Raises PushError.
    """
    versions = sorted(str(path.relative_to(root)) for path in (root / "registry/models").glob("*.dvc"))
    if not versions:
        return []
    reached = _push_dvc(root, versions, f"`dvc push {' '.join(versions)}`")
    return [*reached, *_push_git(root, [f"HEAD:refs/heads/{REGISTRY_BRANCH}"])]


def _refspecs(refs: Sequence[str]) -> list[str]:
    """An experiment of a name is replaced by the next of that name; a branch may hold another machine's results."""
    return [f"{'+' * ref.startswith('refs/exps/')}{ref}:{ref}" for ref in refs]


def _push_dvc(root: Path, words: Sequence[str], remedy: str, command: Sequence[str] = ("dvc", "push")) -> list[str]:
    """Name of the DVC remote that took what `command` with `words` pushes; none where the project has no remote."""
    remote = dvc_remote(root)
    if remote is None:
        return []
    done = run_lines([*command, *words], root, print, _TIMEOUT_S)
    if done.returncode:
        raise PushError(_complaint(f"DVC remote {remote}", remedy, done.lines))
    return [f"DVC remote {remote}"]


def _push_git(root: Path, refspecs: Sequence[str]) -> list[str]:
    if GIT_REMOTE not in git(root, "remote").split():
        return []
    done = run_lines(["git", "push", GIT_REMOTE, *refspecs], root, print, 600.0)
    if done.returncode:
        command = f"`git push {GIT_REMOTE} {' '.join(refspecs)}`"
        raise PushError(_complaint(f"git remote {GIT_REMOTE}", command, done.lines))
    return [f"git remote {GIT_REMOTE}"]


def dvc_remote(root: Path) -> str | None:
    """Name of the default DVC remote, None where the project has none."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        return repo.config["core"].get("remote")


def _complaint(what: str, remedy: str, lines: Sequence[str]) -> str:
    """Message of a push that failed: its first line goes to pages, so the reason stands there."""
    reason = _REASON.search("\n".join(lines))
    return (
        f"{what} did not take the result{f' ({reason[0]})' if reason else ''}; it is whole in this workspace, and "
        f"{remedy} brings it there. Last lines:\n" + "\n".join(lines[-8:])
    )
