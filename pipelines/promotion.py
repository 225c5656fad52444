"""A promotion and a rollback, step by step, in registry, DVC and git. The flows: promote.py.

DVC knows a version's files by `registry/models/vN.dvc`: as long as that is in git, `dvc gc` keeps them and a clone can
pull them.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from pipelines.commands import PromotionError, Workspace
from pipelines.file_lock import try_lock
from pipelines.workspace import hold, holder

REGISTRY = "registry"
_IDENTITY = ["-c", "user.name=watchline", "-c", "user.email=watchline@localhost"]


@contextlib.contextmanager
def only_one(root: Path, run: str, say: Callable[[str], None], flow_run: str = "") -> Iterator[None]:
    """The workspace for one promotion or rollback, without waiting; where this process runs the line, it has it.

    Raises WorkspaceHeldError while another process runs the line here, whose files are not whole, or judges;
    PromotionError for a second promotion of this process.
    """
    other = holder(root)
    with contextlib.ExitStack() as stack:
        if other is None or other.pid != os.getpid():
            stack.enter_context(hold(root, run, 0.0, say, flow_run=flow_run))
        file = stack.enter_context((root / "runs/promote.lock").open("w"))
        if not try_lock(file):
            raise PromotionError(f"another promotion or rollback runs in {root}; wait for it, or stop it")
        yield


def take_over(place: Workspace, note: str, commit: bool, push: bool) -> int:
    """Make the judged candidate production; the version.

    Its files are DVC's, and with `push` on the remote, before the history names them. A remote that cannot be reached
    is told and does not stop it.
    """
    version = place.library("registry", "keep")[-1].removeprefix("v")
    tracked = f"{REGISTRY}/models/v{version}"
    place.dvc("add", "--quiet", tracked)
    if push:
        _push(place, tracked)
    code = ["--commit", code_version(place)]
    place.library("registry", "record", "--version", version, *(["--note", note] if note else []), *code)
    if commit:
        commit_registry(place, f"Promote v{version}")
    return int(version)


def roll_back(place: Workspace, note: str, commit: bool) -> int:
    """Make the version before the present one production again, from DVC's cache or remote; the version."""
    version = place.library("registry", "previous")[-1]
    restore(place, version)
    code = ["--commit", code_version(place)]
    place.library("registry", "rollback", *(["--note", note] if note else []), *code)
    if commit:
        commit_registry(place, f"Roll back to {version}")
    return int(version.removeprefix("v"))


def restore(place: Workspace, version: str) -> None:
    """Have the files of a version (`vN`) in the registry as DVC knows them."""
    tracked = f"{REGISTRY}/models/{version}.dvc"
    try:
        place.dvc("checkout", "--force", tracked)
    except PromotionError:
        place.log(f"{version} is not in DVC's cache: pulling it from the remote")
        place.dvc("pull", "--force", tracked)


def commit_registry(place: Workspace, message: str) -> None:
    """Commit `registry/` and nothing else, whatever else is staged; nothing where it has no change."""
    place.git("add", "--", REGISTRY)
    if not place.git("status", "--porcelain", "--", REGISTRY):
        return
    known = subprocess.run(["git", "config", "user.email"], cwd=place.root, capture_output=True).returncode == 0
    place.git(*([] if known else _IDENTITY), "commit", "--quiet", "--message", message, "--", REGISTRY)
    if subprocess.run(["git", "symbolic-ref", "-q", "HEAD"], cwd=place.root, capture_output=True).returncode:
        place.log("warning: HEAD is detached, so the registry's commit is on no branch; `git branch NAME` keeps it")


def code_version(place: Workspace) -> str:
    """The commit of the workspace, with a mark where code or configuration have changes that are not in it."""
    changed = place.git("status", "--porcelain", "--untracked-files=no", "--", "src", "conf", "features")
    return place.git("rev-parse", "HEAD").strip() + (" with changes" if changed else "")


def _push(place: Workspace, tracked: str) -> None:
    try:
        place.dvc("push", f"{tracked}.dvc")
    except PromotionError as error:
        last = str(error).splitlines()[-1]
        place.log(f"warning: {tracked} is not on the remote ({last}); `dvc push {tracked}.dvc` when it can be reached")
