"""The flow runs whatever dvc.yaml says, on a small project of its own, with real DVC and a real Prefect API."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from pipelines.dag import stages_in_order
from pipelines.params import compose_params

DVC_YAML = """
stages:
  second:
    cmd: python -c "import shutil; shutil.copy('first.txt', 'second.txt')"
    deps: [first.txt]
    outs: [second.txt]
  first:
    cmd: echo making first && echo ${first.text} > first.txt
    params: [first]
    outs: [first.txt]
  fan:
    matrix: {item: "${items}"}
    cmd: mkdir -p fan && echo ${item.item} > fan/${item.item}
    deps: [second.txt]
    outs: ["fan/${item.item}"]
"""
METRICS = {"models": {"gr": {"mae_s": 1.5, "decile": [1, 2]}, "lightgbm": {"mae_s": 2.0}}}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template") / "project"
    (root / "conf").mkdir(parents=True)
    (root / "conf/config.yaml").write_text("first: {text: hello}\nitems: [a, b]\n")
    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / "reports/evaluate").mkdir(parents=True)
    (root / "reports/evaluate/metrics.json").write_text(json.dumps(METRICS))
    (root / ".gitignore").write_text("*.txt\nfan\n")
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(command, cwd=root, check=True)
    compose_params(root)
    return root


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "project"))


def test_order_follows_dependencies_not_the_file(project):
    assert stages_in_order(project) == ["first", "second", "fan@a", "fan@b"]


def test_a_run_makes_every_stage_and_a_second_finds_all_cached(project, prefect_api):
    from pipelines.flow import watchline

    first = watchline(root=project)
    assert [result.stage for result in first] == ["first", "second", "fan@a", "fan@b"]
    assert not any(result.cached for result in first)
    assert (project / "second.txt").read_text() == "hello\n"
    assert all(result.cached for result in watchline(root=project))


def test_overrides_rerun_only_what_they_touch(project, prefect_api):
    from pipelines.flow import watchline

    watchline(root=project)
    again = watchline(overrides=["first.text=bye"], root=project)
    assert (project / "second.txt").read_text() == "bye\n"
    assert [result.stage for result in again if not result.cached] == ["first", "second", "fan@a", "fan@b"]


def test_a_failing_stage_ends_the_flow_with_its_last_lines_and_is_not_repeated(project, prefect_api):
    from pipelines.flow import watchline
    from pipelines.stage import StageError

    broken = DVC_YAML.replace(
        "shutil.copy", "print('no', 'such', 'luck'); open('tries', 'a').write('x'); 1 / 0 or shutil.copy"
    )
    (project / "dvc.yaml").write_text(broken)
    with pytest.raises(StageError, match=r"(?s)stage second failed.*no such luck.*ZeroDivisionError"):
        watchline(root=project)
    assert (project / "tries").read_text() == "x"


def test_a_workspace_that_is_held_is_waited_for(project, prefect_api, monkeypatch):
    """The first attempt meets the lock that a running stage holds; the retry finds the workspace free."""
    from pipelines import stage as module

    slow = DVC_YAML.replace("echo making first", "echo making first && sleep 4")
    (project / "dvc.yaml").write_text(slow)
    holder = subprocess.Popen(["dvc", "repro", "first"], cwd=project, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    while "Running stage" not in holder.stdout.readline():
        pass
    result = module.reproduce.with_options(retry_delay_seconds=3)("first", project, 60.0)
    holder.wait()
    assert result.cached


def test_metric_rows_hold_the_scalars_of_every_model(project):
    from pipelines.flow import model_metrics

    assert model_metrics(project) == [{"model": "gr", "mae_s": 1.5}, {"model": "lightgbm", "mae_s": 2.0}]
