"""Stage train under torchrun: two gloo processes give the bytes of one, whatever happens to them on the way."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
import yaml

from tests.helpers.feature_table import write_feature_table
from tests.stages.test_train import PARAMS, contents
from watchline.stages import train as stage

ROOT = Path(__file__).parents[2]


def make_project(root: Path, changes: Mapping[str, str] = MappingProxyType({})) -> Path:
    """513 training rows in batches of 64, so that the last batch leaves a process without a row; three batches of
    validation rows, dealt to the processes in turn."""
    write_feature_table(root / "features", rows_per_day=171)
    text = PARAMS.replace("num_threads: 1", "num_threads: 1\n    predict_batch_size: 70")
    for before, after in changes.items():
        text = text.replace(before, after)
    (root / "params.yaml").write_text(text)
    return root


def command(model: str, out: str) -> list[str]:
    paths = ["--features", "features", "--out", f"{out}/model", "--report", f"{out}/report", "--runs", f"{out}/runs"]
    return [sys.executable, "-m", "watchline.stages.train", "--model", model, *paths]


def set_processes(project: Path, num_processes: int) -> None:
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["train"]["common"]["num_processes"] = num_processes
    (project / "params.yaml").write_text(yaml.safe_dump(params))


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}


def run(project: Path, arguments: list[str], check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, cwd=project, env=environment(), capture_output=True, text=True, check=check, timeout=240
    )


def train(project: Path, num_processes: int, model: str = "gr", check: bool = True) -> subprocess.CompletedProcess[str]:
    set_processes(project, num_processes)
    return run(project, command(model, f"{model}{num_processes}"), check)


def train_here(project: Path, num_processes: int = 1, model: str = "gr") -> None:
    """The same in this process, which a fit that is not shared stays in."""
    set_processes(project, num_processes)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        stage.main(command(model, f"{model}{num_processes}")[3:])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_project(tmp_path_factory.mktemp("project"))
    train_here(root)
    return root


def test_two_processes_give_the_bytes_of_one(project: Path) -> None:
    output = train(project, 2).stdout
    assert "on 2 x cpu" in output
    assert contents(project / "gr2") == contents(project / "gr1")


def test_four_processes_train_as_one_does_up_to_the_order_of_a_sum(tmp_path: Path) -> None:
    """Four gradients are added in another order; the losses and metrics of a short run agree to 1e-4 of their value."""
    root = make_project(tmp_path, {"epochs: 4": "epochs: 1\n    num_shards: 4"})
    train_here(root)
    train(root, 4)
    one, four = (curves(root / f"gr{count}/report/curves.csv") for count in (1, 4))
    assert len(one) == 2
    for row, other in zip(one, four, strict=True):
        assert row == pytest.approx(other, rel=1e-4)


def test_killed_while_training_and_repeated_they_give_the_same_bytes(project: Path) -> None:
    set_processes(project, 2)
    process = subprocess.Popen(
        command("gr", "killed"), cwd=project, env=environment(), stdout=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not list((project / "killed").glob("runs/*/step-*")) and process.poll() is None:
        assert time.monotonic() < deadline, "no checkpoint within two minutes"
        time.sleep(0.01)
    assert process.poll() is None, "training ended before it could be killed"
    for child in _descendants(process.pid):
        os.kill(child, signal.SIGKILL)
    process.kill()
    process.wait()
    assert not (project / "killed/model").exists()
    assert "continuing from step" in run(project, command("gr", "killed")).stdout
    assert contents(project / "killed") == contents(project / "gr1")


def test_a_model_that_cannot_share_a_fit_is_fitted_by_the_first_process_alone(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a process of its own without torchrun, and under somebody else's by the first of its processes."""
    train_here(project, 2, "lightgbm")
    assert "on 1 x cpu" in capsys.readouterr().out
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "watchline.stages.train"]
    _, _, _, *arguments = command("lightgbm", "torchrun")
    assert run(project, [sys.executable, *launcher, *arguments]).stdout.count("training rows") == 1
    assert contents(project / "torchrun") == contents(project / "lightgbm2")


def test_shards_that_do_not_divide_are_an_error_before_any_work(project: Path) -> None:
    with pytest.raises(ValueError, match=r"^num_shards=2 does not divide over 3 processes"):
        train_here(project, 3)
    assert not (project / "gr3").exists()


def test_an_error_of_the_first_process_is_named_by_all_without_a_traceback_of_the_stage(tmp_path: Path) -> None:
    root = make_project(tmp_path, {"epochs: 4": "epochs: 1\n    label_per: no_such_column"})
    failed = train(root, 2, check=False)
    assert failed.returncode == 1
    assert "error: train, rank 0 of 2: the table lacks columns no_such_column" in failed.stderr
    assert "error: train, rank 1 of 2: stopped because rank 0 failed" in failed.stderr
    assert "watchline/stages/train.py" not in failed.stderr


def curves(path: Path) -> list[dict[str, float]]:
    with path.open() as stream:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]


def _descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [found for child in map(int, children) for found in (child, *_descendants(child))]
