"""Copies of a result off this machine: outputs to the DVC remote, the record to the git remote."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import task

from pipelines.experiments import finished
from pipelines.git_command import git
from pipelines.process import CommandTimeoutError, run_lines

GIT_REMOTE = "origin"
REGISTRY_BRANCH = "watchline-registry"
_REASON = re.compile(r"\[Errno \d+\] [^:'\n]+")
_PUSH_COMMITS = Path(__file__).with_name("push_commits.py")
_TIMEOUT_S, _GIT_TIMEOUT_S = 6 * 3600.0, 600.0


# With these a remote says no, and would say it again: somebody has to do something first.
_REFUSALS = (
    "(non-fast-forward)",
    "(fetch first)",
    "Authentication failed",
    "could not read Username",
    "Permission denied",
    "No space left on device",
    "Disk quota exceeded",
)


class PushError(RuntimeError):
    """A remote did not take everything; what it lacks is safe in the workspace's cache and git."""


class PushRefusedError(PushError):
    """It is full, hangs, wants other credentials, or its branch has other commits: another attempt ends no better."""


def is_worth_a_retry(_task: Any, _run: Any, state: Any) -> bool:
    """Whether a push may do better in a moment."""
    return not isinstance(state.result(raise_on_failure=False), PushRefusedError)


_RETRIES: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": [10, 60, 300],
    "retry_condition_fn": is_worth_a_retry,
    "persist_result": False,
}


@task(task_run_name="push", **_RETRIES)
def push(root: Path, stages: Sequence[str], refs: Sequence[str]) -> list[str]:
    """Push outputs and run cache of `stages` and the git `refs` to the remotes that there are; returns their names.

    Retried, since most failures are of the network or of a lock. Raises PushError; PushRefusedError is not retried.
    """
    # Once a run is over, its dvc.lock is in its record, and no longer where `dvc push` reads it.
    remedy = "the same run once more, or `dvc exp apply` of it and `dvc push --run-cache`"
    reached = _push_dvc(root, ["--run-cache", *stages], remedy)
    return [*reached, *_push_git(root, _refspecs(refs))]


@task(task_run_name="push-records", **_RETRIES)
def push_records(root: Path, names: Sequence[str], branch: str | None) -> list[str]:
    """Push what the remotes lack of the experiments `names`, of runs that are long over, and `branch`; returns remotes.

    The workspace holds the outputs of one run at most: outputs come from DVC's cache. Raises PushError.
    """
    command = [sys.executable, str(_PUSH_COMMITS), *(finished(root)[name] for name in names)]
    reached = _push_dvc(root, [], "the same backfill once more", command)
    patterns = [f"refs/exps/*/*/{name}" for name in names]
    refs = git(root, "for-each-ref", "--format=%(refname)", *patterns).split()
    return [*reached, *_push_git(root, _refspecs([*refs, *([f"refs/heads/{branch}"] if branch else [])]))]


@task(task_run_name="push-registry", **_RETRIES)
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
    _run([*command, *words], root, _TIMEOUT_S, f"DVC remote {remote}", remedy)
    return [f"DVC remote {remote}"]


def _push_git(root: Path, refspecs: Sequence[str]) -> list[str]:
    if GIT_REMOTE not in git(root, "remote").split():
        return []
    command = ["git", "push", GIT_REMOTE, *refspecs]
    _run(command, root, _GIT_TIMEOUT_S, f"git remote {GIT_REMOTE}", f"`{' '.join(command)}`")
    return [f"git remote {GIT_REMOTE}"]


def _run(command: Sequence[str], root: Path, timeout_s: float, what: str, remedy: str) -> None:
    """Push to the remote `what`; raises PushError, of its kinds PushRefusedError for one that hangs."""
    try:
        done = run_lines(command, root, print, timeout_s)
    except CommandTimeoutError:
        raise PushRefusedError(
            f"{what} did not answer within {timeout_s:.0f} s; the result is whole in this workspace, and {remedy} "
            "brings it there"
        ) from None
    if done.returncode:
        raise _error(what, remedy, done.lines)


def dvc_remote(root: Path) -> str | None:
    """Name of the default DVC remote, None where the project has none."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        return repo.config["core"].get("remote")


def _error(what: str, remedy: str, lines: Sequence[str]) -> PushError:
    """The error of a push that failed: its first line goes to pages, so the reason stands there."""
    text = "\n".join(lines)
    reason = _REASON.search(text)
    kind = PushRefusedError if any(refusal in text for refusal in _REFUSALS) else PushError
    return kind(
        f"{what} did not take the result{f' ({reason[0]})' if reason else ''}; it is whole in this workspace, and "
        f"{remedy} brings it there. Last lines:\n" + "\n".join(lines[-8:])
    )
