"""What a run was, and its result in git as a DVC experiment, without a change to the workspace or its branch.

`dvc exp save` is not used: it commits whatever lies in the outputs of stages that this run did not reach as if they had
been made from the present inputs. The experiment's commit is written by git itself, from an index of its own.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from pipelines.git_command import GitError, git
from pipelines.kept_files import TRACKED
from pipelines.leaderboard_runs import code_of, mark_of
from pipelines.settings import NO_EXPERIMENT

_CODE = ("src", "conf", "features", "pipelines")


@dataclass(frozen=True)
class Identity:
    """A run by its content: equal names, equal code, parameters and extent."""

    kind: str  # run or daily
    end: date  # last day of the window
    experiment: str
    commit: str  # HEAD
    edited: bool  # files differ from HEAD, params.yaml and dvc.lock left out, or code is not in git yet
    params_hash: str  # SHA-256 of params.yaml
    mark: str  # ten hex digits over code, parameters and target

    @property
    def name(self) -> str:
        """Of the flow run, of its log and of the DVC experiment."""
        return f"{self.kind}-{self.end}-{self.experiment}-{self.mark}"


def identify(root: Path, kind: str, experiment: str, target: str | None, params: Path) -> Identity:
    """Who the run with the composed `params` is; raises ValueError where its window has no end."""
    text = params.read_text(encoding="utf-8")
    (head, changes), new = code_of(root), _new_code(root)
    try:
        end = date.fromisoformat(str(yaml.safe_load(text)["window"]["end"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{params}: window.end: {error!r}; a run needs a day in the form 2024-03-14") from None
    return Identity(
        kind=kind,
        end=end,
        experiment="default" if experiment == NO_EXPERIMENT else experiment,
        commit=head.strip(),
        edited=bool(changes or new),
        params_hash=hashlib.sha256(text.encode()).hexdigest(),
        mark=mark_of([_committed(root), changes, text, target, *([new] if new else [])], None),
    )


def lock_hashes(root: Path) -> list[dict[str, Any]]:
    """Stage, output and hash of everything in dvc.lock; nothing where there is no such file."""
    path = root / "dvc.lock"
    if not path.is_file():
        return []
    stages = yaml.safe_load(path.read_text(encoding="utf-8"))["stages"]
    return [
        {"stage": stage, "output": out["path"], "md5": out.get("md5", "")}
        for stage, entry in stages.items()
        for out in entry.get("outs", [])
    ]


def save(root: Path, identity: Identity) -> tuple[str, str]:
    """Record the workspace's tracked files as the only experiment of that name; returns its commit and ref."""
    baseline = git(root, "rev-parse", "HEAD").strip()
    for ref in git(root, "for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{identity.name}").split():
        git(root, "update-ref", "-d", ref)  # of an earlier HEAD with the same code, or of this one
    commit = _commit(root, _tree(root), baseline, f"Result of {identity.name}")
    ref = experiment_ref(baseline, identity.name)
    git(root, "update-ref", ref, commit)
    return commit, ref


def save_on_branch(root: Path, identity: Identity, experiment: str, branch: str) -> str:
    """A commit with the files of the commit `experiment` on `branch`, which is made when there is none.

    Returns its commit. Raises GitError when the branch is checked out, for its files would then look changed.
    """
    ref = f"refs/heads/{branch}"
    if git(root, "rev-parse", "--symbolic-full-name", "HEAD").strip() == ref:
        raise GitError(f"branch {branch} is checked out in {root}; choose another one for results")
    tree = git(root, "rev-parse", f"{experiment}^{{tree}}").strip()
    tip = git(root, "for-each-ref", "--format=%(objectname)", ref).strip()
    parent = tip or git(root, "rev-parse", f"{experiment}^").strip()
    if tip and git(root, "rev-parse", f"{tip}^{{tree}}").strip() == tree:
        return tip
    commit = _commit(root, tree, parent, f"Result of {identity.name}")
    git(root, "update-ref", ref, commit, tip)
    return commit


def experiment_ref(baseline: str, name: str) -> str:
    """Where DVC looks for the experiments of a commit."""
    return f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}"


def _committed(root: Path) -> str:
    """What HEAD holds but for results: the gate's commits to the registry make no run another one."""
    lines = git(root, "ls-tree", "HEAD").splitlines()
    return "\n".join(line for line in lines if line.split("\t")[1] not in (*TRACKED, "registry"))


def _new_code(root: Path) -> list[str]:
    """Path and hash of files of the code that git does not know yet: a stage that runs here reads them."""
    paths = git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *_CODE).split("\0")[:-1]
    return [f"{path} {hashlib.sha256((root / path).read_bytes()).hexdigest()}" for path in paths]


def _tree(root: Path) -> str:
    """A tree of the tracked files as they lie in the workspace, params.yaml and dvc.lock with them."""
    with tempfile.TemporaryDirectory(prefix="watchline-index-") as folder:
        environment = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        git(root, "read-tree", "HEAD", environment=environment)
        git(root, "add", "--update", environment=environment)
        results = [name for name in TRACKED if (root / name).is_file()]
        git(root, "add", "--force", "--", *results, environment=environment)
        return git(root, "write-tree", environment=environment).strip()


def _commit(root: Path, tree: str, parent: str, message: str) -> str:
    identity = {}
    try:
        git(root, "var", "GIT_COMMITTER_IDENT")
    except GitError:  # a machine that runs the service need not have a person's name
        for role in ("AUTHOR", "COMMITTER"):
            identity |= {f"GIT_{role}_NAME": "watchline", f"GIT_{role}_EMAIL": "watchline@localhost"}
    return git(root, "commit-tree", tree, "-p", parent, "-m", message, environment=identity).strip()
