"""A checkout of the project's own line with settings that take a minute, and the programs to run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
WEEK = ["ingest.days=7", "ingest.exposures=4000", "window.end=2024-03-07"]  # of generated data
# One thread each: two threads of a process wait for each other where the tests share the cores.
SMALL = {
    "window.finetune_days": 1,
    "window.train_days": 3,
    "features.windows": [1],
    "features.pair_windows": [1],
    "train.common.num_threads": 1,
    "train.gr.epochs": 1,
    "train.lightgbm.num_rounds": 20,
    "finetune.epochs": 1,
    "evaluate.replicates": 100,
    "evaluate.num_threads": 1,
    "abtest.requests": 300,
    "abtest.num_threads": 1,
    "drift.worst_columns": 1,
}
# Days are judged on one day, with few columns: the cost of drift grows with them.
DAILY = {
    "window.eval_days": 1,
    "features.all_time": False,
    "abtest.sweep_runs": 0,
    "abtest.expectation_runs": 2,
    "abtest.false_positive_runs": 50,
}
# Models of a few hundred rows differ by chance far beyond the gate's margins; here they pass.
GATE = {
    "min_lift": -0.99,
    "min_sample_ratio_p": 0.0,
    "min_aa_p": 0.0,
    "max_mae_rise": 5.0,
    "max_xauc_fall": 1.0,
    "max_calibration_error": 10.0,
    "drift": ["pass", "warn", "fail"],
    "slice_min_rows": 50,
    "slice_max_mae_rise": 5.0,
    "replicates": 200,
}


def checkout(target: Path) -> Path:
    """A git repository of its own holding the working tree's files, as a fresh clone would."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if name != "dvc.lock" and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    commit(target, "start", "init", "-q")
    return target


def daily_checkout(target: Path, log: Path) -> Path:
    """A checkout whose default source is the KuaiRand `log`, with a git remote beside it and its DVC remote there."""
    checkout(target)
    values: dict[str, object] = {"defaults": [{"override /ingest": "kuairand"}], "ingest": {"path": str(log)}}
    for key, value in (SMALL | DAILY).items():
        place = values
        *above, last = key.split(".")
        for name in above:
            place = place.setdefault(name, {})  # type: ignore[assignment]
        place[last] = value
    text = "# @package _global_\n" + yaml.safe_dump(values, sort_keys=False)
    (target / "conf/experiment/small.yaml").write_text(text)
    config = target / "conf/config.yaml"
    config.write_text(config.read_text().replace("optional experiment: null", "experiment: small"))
    gate = target / "conf/promote.yaml"
    gate.write_text(yaml.safe_dump(yaml.safe_load(gate.read_text()) | GATE))
    python(target, "-m", "pipelines", "params")
    commit(target, "small")
    origin = target.with_name(target.name + "-origin.git")
    subprocess.run(["git", "init", "-q", "--bare", str(origin)], check=True)
    subprocess.run(["git", "remote", "add", "origin", str(origin)], cwd=target, check=True)
    return target


def commit(root: Path, message: str, *before: str) -> None:
    """Commit everything in `root`, after the git command `before`."""
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (*([before] if before else []), ("add", "-A"), ("commit", "-qm", message)):
        subprocess.run([*git, *command], cwd=root, check=True)


def environment(root: Path) -> dict[str, str]:
    """This environment's programs, and the code of `root`."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])}


def python(root: Path, *arguments: str) -> str:
    """Run Python in `root` with its own code; fails the test with what it said."""
    return _run([sys.executable, *arguments], root)


def dvc(root: Path, *arguments: str) -> str:
    """Run dvc in `root` with this environment's programs; fails the test with what it said."""
    return _run(["dvc", *arguments], root)


def _run(command: list[str], root: Path) -> str:
    done = subprocess.run(command, cwd=root, env=environment(root), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout
