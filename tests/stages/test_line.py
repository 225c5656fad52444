"""The whole line on a small generated data set, in a checkout of its own, through DVC as a user would."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.params import compose_params
from watchline.overview.rebuild import rebuild

ROOT = Path(__file__).resolve().parents[2]
# A week at one thread each: two threads of a process wait for each other where the tests share the cores.
SMALL = [
    "ingest.days=7",
    "ingest.exposures=4000",
    "window.end=2024-03-07",
    "window.finetune_days=1",
    "window.train_days=3",
    "features.windows=[1]",
    "features.pair_windows=[1]",
    "train.common.num_threads=1",
    "train.gr.epochs=1",
    "train.lightgbm.num_rounds=20",
    "finetune.epochs=1",
    "evaluate.replicates=100",
    "evaluate.num_threads=1",
    "abtest.requests=300",
    "abtest.num_threads=1",
    "drift.worst_columns=1",
]


def checkout(target: Path) -> Path:
    """A git repository of its own holding the working tree's files, as a fresh clone would."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if name != "dvc.lock" and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
        subprocess.run([*git, *command], cwd=target, check=True)
    return target


def dvc(root: Path, *arguments: str) -> str:
    """Run dvc in `root` with this environment's programs; fails the test with its output."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["dvc", *arguments], cwd=root, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def line(tmp_path_factory) -> Path:
    root = checkout(tmp_path_factory.mktemp("line"))
    compose_params(root, SMALL)
    dvc(root, "repro")
    return root


def recorded_outputs(root: Path) -> dict[str, str]:
    """Path -> hash of every output in dvc.lock."""
    stages = yaml.safe_load((root / "dvc.lock").read_text())["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_second_run_has_nothing_to_do(line):
    assert "Running stage" not in dvc(line, "repro")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_stage_leaves_its_page_and_metrics(line):
    dag = yaml.safe_load((line / "dvc.yaml").read_text())["stages"]
    pages = {path.relative_to(line / "reports").parts[0] for path in (line / "reports").rglob("index.html")}
    assert {"index.html", *dag} - {"report"} == pages
    assert (line / "reports/report/metrics.json").is_file()
    own = [path for path in (line / "reports").rglob("*.html") if path.name != "evidently.html"]
    assert (line / "reports/index.html").stat().st_size < 300_000
    assert not [path for path in own if path.stat().st_size > 1_500_000]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_pages_made_anew_leave_nothing_to_do(line):
    """Every page is what its stored content gives: rendering changes no output of the line."""
    assert rebuild(line).changed == [line / "reports/run/index.html"]
    assert "up to date" in dvc(line, "status")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_same_params_give_the_same_bytes(line):
    before = recorded_outputs(line)
    shutil.rmtree(line / "runs", ignore_errors=True)
    dvc(line, "repro", "--force", "--no-run-cache")
    assert recorded_outputs(line) == before
