"""A promotion and a rollback, step by step: stages, registry, DVC and git run as programs. The flows: promote.py.

DVC knows a version's files by `registry/models/vN.dvc`: as long as that is in git, `dvc gc` keeps them and a clone can
pull them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.file_lock import try_lock
from pipelines.process import run_lines
from pipelines.stage_errors import is_busy
from pipelines.workspace import hold, holder

REGISTRY, COMPARISON, REPORT = "registry", "runs/promote", "reports/promote"
JUDGED_BY = "drift"  # the last stage that the gate reads; everything before it is up to date when it is
_WAITS_S = (5.0, 15.0, 45.0)
_IDENTITY = ["-c", "user.name=watchline", "-c", "user.email=watchline@localhost"]


class PromotionError(RuntimeError):
    """A step that failed; the message carries its last lines or says what to do."""


@dataclass(frozen=True)
class Workspace:
    """A project folder, where its lines go, and the limit for one step, seconds."""

    root: Path
    log: Callable[[str], None]
    timeout_s: float

    def run(self, command: Sequence[str], cwd: Path | None = None) -> list[str]:
        """Run a command to its end; raises PromotionError with its last lines."""
        done = run_lines(command, cwd or self.root, self.log, self.timeout_s)
        if done.returncode:
            text = "\n".join(done.lines[-15:]).removeprefix("error: ")
            raise PromotionError(text or f"{command[0]}: exit {done.returncode}")
        return done.lines

    def library(self, module: str, *arguments: str, cwd: Path | None = None) -> list[str]:
        """Run a module of the project's own code as a program."""
        program = ["env", f"PYTHONPATH={self.root / 'src'}", sys.executable, "-m", f"watchline.{module}"]
        return self.run([*program, *arguments], cwd)

    def dvc(self, *arguments: str) -> list[str]:
        """Run DVC, again where another DVC command holds the workspace."""
        for wait_s in (*_WAITS_S, None):
            try:
                return self.run(["dvc", *arguments])
            except PromotionError as error:
                if wait_s is None or not is_busy(str(error).splitlines()):
                    raise
                time.sleep(wait_s)
        raise AssertionError

    def git(self, *arguments: str) -> str:
        """Run git; raises PromotionError with what it said."""
        done = subprocess.run(["git", *arguments], cwd=self.root, capture_output=True, text=True)
        if done.returncode:
            raise PromotionError(f"git {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout


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


def check_fresh(place: Workspace) -> None:
    """Raise PromotionError naming the stages whose outputs are not those of the present code, parameters and data."""
    lines = "\n".join(place.dvc("status", "--json", "--with-deps", JUDGED_BY))
    status = json.loads(lines[lines.index("{") :] if "{" in lines else "{}")  # warnings come first
    if status:
        raise PromotionError(
            f"not up to date: {', '.join(sorted(status))}; the gate judges what the reports are of, so run the line "
            "first (`dvc repro`, `dvc exp apply NAME` of a recorded run, or `dvc checkout` where files were removed)"
        )


def compare(place: Workspace, candidate: str | None, against: str) -> dict[str, Any]:
    """Evaluate and test candidate and reference on the window's rows, in `runs/promote`; returns arms.json.

    Nothing runs where the candidate is in production already, and no test where there is nothing to hold it against.
    """
    folder = place.root / COMPARISON
    shutil.rmtree(folder, ignore_errors=True)
    place.library("registry", "arms", "--against", against, *(["--candidate", candidate] if candidate else []))
    arms: dict[str, Any] = json.loads((folder / "arms.json").read_text())
    if arms["unchanged"]:
        return arms
    params = _params(place.root, arms)
    (folder / "models").mkdir()
    (folder / "models/candidate").symlink_to(place.root / "models" / arms["candidate"])
    if arms["reference"]:
        (folder / "models/reference").symlink_to(place.root / arms["reference"])
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    data, features = place.root / "data", ["--features", str(place.root / "data/features")]
    shared = ["--models", "models", *features, "--report"]
    try:
        place.library("stages.evaluate", *shared, "reports/evaluate", "--out", "data", cwd=folder)
        if arms["reference"]:
            repo = place.root / "features" / params["features"]["store"]
            tables = ["--tables", str(data / "ingest"), "--repo", str(repo), "--predictions", "data"]
            place.library("stages.abtest", *shared, "reports/abtest", *tables, cwd=folder)
    except PromotionError as error:
        advice = "where production cannot read these features any more, hold the candidate against the baseline"
        raise PromotionError(f"{error}\n{advice} (--against baseline)") from None
    return arms


def _params(root: Path, arms: dict[str, Any]) -> dict[str, Any]:
    """The line's parameters with the two models in the places of its own.

    Raises PromotionError where the two would be replayed: first videos of a random log say what is worth a test.
    """
    params: dict[str, Any] = yaml.safe_load((root / "params.yaml").read_text())
    if arms["reference"] and params["abtest"].get("environment") == "replay":
        raise PromotionError(
            "abtest.environment is replay, which has no users and sessions: it says which model is worth a test "
            "online, not which one to promote. Run the line with another one (`dvc exp run -S "
            "abtest.environment=model`), then promote again"
        )
    params["models"] = ["candidate", *(["reference"] if arms["reference"] else [])]
    params["evaluate"]["baseline"] = "reference"
    # The two alone, neither exploring: the gate is about models.
    alone = {"treatments": [], "treatment_epsilon": 0.0, "treatment_temperature": 0.0, "sweep_runs": 0}
    params["abtest"] |= {"control": "reference", "treatment": "candidate", **alone}
    if arms["statistic"]:
        params["abtest"]["control_statistic"] = arms["statistic"]
    return params


def judge(place: Workspace) -> dict[str, Any]:
    """The gate's verdict on what `compare` left: verdict.json and the page in reports/promote."""
    statistic = yaml.safe_load((place.root / "params.yaml").read_text())["abtest"]["treatment_statistic"]
    place.library("registry", "judge", "--statistic", statistic)
    verdict: dict[str, Any] = json.loads((place.root / REPORT / "verdict.json").read_text())
    return verdict


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
