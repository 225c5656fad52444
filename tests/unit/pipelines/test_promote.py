"""Promotion and rollback with real git, DVC, Prefect, models and stages, on a small project."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipelines import comparison
from pipelines.__main__ import configure_environment
from pipelines.commands import PromotionError, Workspace
from pipelines.notifications import WEBHOOK_URL
from pipelines.promotion import only_one, restore, roll_back, take_over
from pipelines.settings import PromoteSettings, RollbackSettings
from pipelines.workspace import holder
from tests.helpers.promotion_project import make_project
from tests.helpers.small_models import WINDOW, fit_trees
from tests.helpers.webhook import webhook
from watchline.data.tables import read_days
from watchline.models import load_model
from watchline.registry import find, load, read_history
from watchline.registry.arms import choose_arms

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def prefect_api(tmp_path_factory):
    configure_environment(tmp_path_factory.mktemp("prefect"))
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project whose line has run, nothing promoted yet. Tests of this file follow each other on it."""
    folder = tmp_path_factory.mktemp("promotion")
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return make_project(folder / "project", folder / "remote")


def place(project: Path) -> Workspace:
    return Workspace(project, lambda line: None, 300.0)


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout


def predictions(model, project: Path) -> np.ndarray:
    return model.predict(read_days(project / "data/features/table", WINDOW.split_days("eval")), ["mean"])["mean"]


def test_a_candidate_that_passes_becomes_production_and_git_stays_clean(project, prefect_api, monkeypatch):
    from pipelines.promote import promote

    (project / "conf/promote.yaml").write_text((project / "conf/promote.yaml").read_text() + "# mine\n")
    git(project, "add", "conf/promote.yaml")
    with webhook() as told:
        monkeypatch.setenv(WEBHOOK_URL, told.url)
        verdict = promote(PromoteSettings(note="the first one"), project)
    assert (verdict["status"], verdict["version"]) == ("pass", 1), verdict["checks"]
    (body,) = told.bodies
    assert (body["kind"], body["status"], body["version"]) == ("gate", "pass", 1)
    assert body["run"] == f"promote-gr_finetuned-{WINDOW.end}"
    expected = predictions(load_model(project / "models/gr_finetuned"), project)
    assert np.array_equal(predictions(load("production", project / "registry"), project), expected)
    committed = git(project, "show", "--name-only", "--format=%s", "HEAD").split()
    assert committed == ["Promote", "v1", "registry/cards/v1.md", "registry/history.jsonl", "registry/models/v1.dvc"]
    assert git(project, "status", "--porcelain") == "M  conf/promote.yaml\n"  # staged by someone else, and left so
    assert "the first one" in (project / "reports/promote/history/index.html").read_text()
    git(project, "restore", "--staged", "--worktree", "conf/promote.yaml")


def test_the_same_files_again_are_told_and_only_a_commit_or_a_copy_that_is_missing_is_made(
    project, prefect_api, monkeypatch
):
    from pipelines import gate, promote, push

    monkeypatch.setattr(promote, "push_registry", push.push_registry.with_options(retries=0))
    repository, copies = project.parent / "origin.git", project.parent / "remote"
    git(project, "remote", "add", "origin", str(repository))
    git(project, "reset", "-q", "HEAD~1")  # as a kill between history and commit leaves it
    shutil.rmtree(copies)
    first = gate.ask_gate(project, "a daily", push=True)
    git(project, "init", "-q", "--bare", str(repository))
    shutil.rmtree(copies)
    second = gate.ask_gate(project, "a daily", push=True)
    assert all("gate: **info** " in line and "v1, which is in production" in line for line in (first, second))
    assert "**registry not pushed**: git remote origin" in first and "not pushed" not in second
    head = git(project, "rev-parse", "HEAD").strip()
    assert git(project, "ls-remote", "origin") == f"{head}\trefs/heads/{push.REGISTRY_BRANCH}\n"
    assert len([path for path in copies.rglob("*") if path.is_file()]) > 1
    git(project, "remote", "remove", "origin")
    subjects = git(project, "log", "--format=%s").splitlines()
    assert subjects == ["Record what is in production", "start"] and not git(project, "status", "--porcelain")
    assert len(read_history(project / "registry")) == 1


def test_a_worse_candidate_is_refused_with_its_reasons(project):
    arms = comparison.compare(place(project), "lightgbm", "production")
    assert arms["label"] == "v1 (gr_finetuned), in production"
    verdict = comparison.judge(place(project))
    failed = {check["name"] for check in verdict["checks"] if check["status"] == "fail"}
    assert verdict["status"] == "fail" and {"MAE", "XAUC"} <= failed
    with pytest.raises(PromotionError, match="Do not promote lightgbm"):
        take_over(place(project), "", commit=True, push=False)
    assert len(read_history(project / "registry")) == 1


def test_a_replay_promotes_nothing_and_says_so_before_any_stage_runs(project):
    params = project / "params.yaml"
    before = params.read_text()
    changed = yaml.safe_load(before)
    changed["abtest"]["environment"] = "replay"
    params.write_text(yaml.safe_dump(changed))
    with pytest.raises(PromotionError, match=r"is replay, which has no users .* -S abtest.environment=model"):
        comparison.compare(place(project), "lightgbm", "production")
    assert [path.name for path in (project / "runs/promote").iterdir()] == ["arms.json"]
    params.write_text(before)


def second_version(project: Path) -> None:
    """A model of its own in models/, with a verdict that promotes it."""
    fit_trees(project / "data/features", project / "models/third", num_rounds=5)
    arms = choose_arms(project / "models", "third", "lightgbm", project / "registry", "production")
    verdict = {"status": "pass", "text": "Promote third.", "checks": [], "candidate": "third", "statistic": "mean"}
    verdict |= {"window": {"eval_first": "2024-03-06", "eval_last": "2024-03-06"}, "metrics": {"mae_s": 1.0}}
    verdict |= {"method": arms.method, "digest": arms.digest, "events": arms.events}
    (project / "reports/promote/verdict.json").write_text(json.dumps(verdict))


def test_a_rollback_takes_the_version_before_from_dvc_and_the_gate_leaves_it_so(project, prefect_api, monkeypatch):
    from pipelines.gate import ask_gate

    registry = project / "registry"
    first = predictions(load("v1", registry), project)
    second_version(project)
    assert take_over(place(project), "", commit=True, push=True) == 2
    assert not np.array_equal(predictions(load(registry=registry), project), first)
    shutil.rmtree(project / "models/third")
    shutil.rmtree(registry / "models/v1")
    subprocess.run(["dvc", "gc", "--workspace", "--force", "--quiet"], cwd=project, check=True)
    assert roll_back(place(project), "worse in the evening", commit=True) == 1
    assert np.array_equal(predictions(load(registry=registry), project), first)
    assert git(project, "log", "-1", "--format=%s") == "Roll back to v1\n" and not git(project, "status", "--porcelain")
    (registry / "models/v2/mean.txt").write_text("spoilt")
    restore(place(project), "v2")
    load("v2", registry)
    shutil.copytree(registry / "models/v2", project / "models/third")
    config = project / "conf/promote.yaml"
    config.write_text(config.read_text().replace("candidate: gr_finetuned", "candidate: third"))
    monkeypatch.setattr(comparison, "check_fresh", lambda place: None)  # the stage that trains owns all of models/ here
    said = ask_gate(project, "a daily", push=True)
    assert "gate: **fail** Do not promote third: it is v2, which a rollback took out of production on" in said
    assert ": worse in the evening." in said and find(registry=registry).version == 1
    git(project, "checkout", "-q", "conf/promote.yaml")
    with pytest.raises(PromotionError, match="nothing came before it"):
        roll_back(place(project), "", commit=True)


def test_a_clone_has_the_history_and_pulls_the_files(project, tmp_path):
    git(tmp_path, "clone", "-q", str(project), "clone")
    clone = tmp_path / "clone"
    restore(place(clone), "v1")
    expected = predictions(load("production", project / "registry"), project)
    assert np.array_equal(predictions(load("production", clone / "registry"), project), expected)
    assert read_history(clone / "registry") == read_history(project / "registry")


def test_a_remote_that_cannot_be_reached_is_told_and_does_not_stop_a_promotion(project, tmp_path):
    (tmp_path / "file").touch()
    subprocess.run(["dvc", "remote", "modify", "--local", "local", "url", str(tmp_path / "file/no")], cwd=project)
    second_version(project)
    lines: list[str] = []
    version = take_over(Workspace(project, lines.append, 300.0), "", commit=True, push=True)
    assert find(registry=project / "registry").version == version == 3
    (told,) = (line for line in lines if line.startswith("warning"))
    assert "`dvc push registry/models/v3.dvc` when it can be reached" in told
    (project / ".dvc/config.local").unlink()


def test_reports_of_another_model_are_not_judged(project):
    shutil.rmtree(project / "models")
    with pytest.raises(PromotionError, match=r"not up to date: .*train.* `dvc checkout`"):
        comparison.check_fresh(place(project))
    subprocess.run(["dvc", "checkout", "--quiet", "--force"], cwd=project, check=True)
    comparison.check_fresh(place(project))


def test_a_second_promotion_at_once_is_refused(project):
    with only_one(project, "first", print):
        with pytest.raises(PromotionError, match="another promotion or rollback runs in"):
            only_one(project, "second", print).__enter__()
        found = holder(project)
        assert found is not None and found.run == "first"  # no run of the line begins meanwhile
    with only_one(project, "third", print):
        pass


def test_a_rollback_reaches_those_who_read_the_registry_elsewhere(project, prefect_api, monkeypatch, tmp_path):
    from pipelines import promote, push

    copy, missing = promote.copy, []
    monkeypatch.setattr(promote, "copy", lambda *given: missing.append(copy(*given)) or missing[-1])
    monkeypatch.setattr(promote, "push_registry", push.push_registry.with_options(retries=0))
    before = find(registry=project / "registry").version
    git(project, "checkout", "-q", "--detach")
    git(project, "remote", "add", "origin", str(tmp_path / "origin.git"))
    for note in ("while the remote is away", "while it is there"):
        second_version(project)
        lines: list[str] = []
        take_over(Workspace(project, lines.append, 300.0), "", commit=True, push=False)
        assert [line for line in lines if "HEAD is detached" in line]
        assert promote.rollback(RollbackSettings(note=note), project) == before
        git(tmp_path, "init", "-q", "--bare", str(tmp_path / "origin.git"))
    assert missing[0].startswith("git remote origin did not take the result") and missing[1] == ""
    head = git(project, "rev-parse", "HEAD").strip()
    assert git(project, "ls-remote", "origin") == f"{head}\trefs/heads/{push.REGISTRY_BRANCH}\n"
