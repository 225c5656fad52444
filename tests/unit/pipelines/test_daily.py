"""Days in order: the newest complete one, copies off the machine, a backfill that was killed, git left clean."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pipelines.experiments import finished
from pipelines.git_command import GitError, git
from pipelines.settings import BackfillSettings, DailySettings
from tests.helpers.daily_project import add_days, git_status, make_project

ROOT = Path(__file__).resolve().parents[3]
DAYS = ["2024-03-01", "2024-03-02"]
AS_SOMEBODY = ["-c", "user.name=t", "-c", "user.email=t@e.org"]
BACKFILL = """
import sys
from pathlib import Path
from pipelines.flow import backfill
from pipelines.settings import BackfillSettings
backfill(BackfillSettings(days=2, gate=False), Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("template") / "project", DAYS[0])


@pytest.fixture
def project(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "where").mkdir()
    monkeypatch.setenv("WHERE", str(tmp_path / "where"))
    return Path(shutil.copytree(template, tmp_path / "project"))


def outputs(project: Path) -> dict[str, dict[str, list]]:
    """Hashes of every output of every recorded run."""
    runs = {
        name: yaml.safe_load(git(project, "show", f"{commit}:dvc.lock")) for name, commit in finished(project).items()
    }
    return {name: {stage: entry["outs"] for stage, entry in lock["stages"].items()} for name, lock in runs.items()}


def ends(project: Path) -> list[str]:
    """Windows that ingest ran for."""
    lines = (project.parent / "where/ran").read_text().splitlines()
    return [line.split()[1] for line in lines if line.startswith("ingest")]


def test_daily_advances_to_the_newest_day_and_its_result_outlives_the_machine(project, prefect_api, tmp_path):
    from pipelines.flow import daily

    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "remote.git")], check=True)
    git(project, "remote", "add", "origin", str(tmp_path / "remote.git"))
    subprocess.run(["dvc", "remote", "add", "-q", "-d", "copy", str(tmp_path / "copy")], cwd=project, check=True)
    git(project, "-c", "user.name=t", "-c", "user.email=t@e.org", "commit", "-qam", "a remote")
    add_days(project, DAYS[1])
    daily(DailySettings(record="branch", gate=False), project)
    (name,) = finished(project)
    assert name.startswith("daily-2024-03-02-default-") and ends(project) == ["2024-03-02"]
    assert git_status(project) == "" and (project / "params.yaml").read_text() == git(
        project, "show", "HEAD:params.yaml"
    )
    recorded = git(project, "show", f"{finished(project)[name]}:dvc.lock")
    assert git(project, "show", "watchline-runs:dvc.lock") == recorded

    shutil.rmtree(project / ".dvc/cache")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "-b", "watchline-runs", str(tmp_path / "remote.git"), str(clone)], check=True)
    subprocess.run(["dvc", "pull", "-q"], cwd=clone, check=True)
    assert (clone / "models/gr").read_text() == "2024-03-01\n2024-03-02\n"
    assert f"/{name}\n" in git(project, "ls-remote", "origin") + "\n"


@pytest.mark.slow
def test_a_backfill_that_was_killed_goes_on_and_equals_the_dailies(project, prefect_api, tmp_path):
    from pipelines.flow import backfill, daily

    short = (project / "dvc.yaml").read_text().split("  evaluate:")[0]
    (project / "dvc.yaml").write_text(short)
    git(project, "-c", "user.name=t", "-c", "user.email=t@e.org", "commit", "-qam", "two stages")
    other = Path(shutil.copytree(project, tmp_path / "other"))
    for day in DAYS:
        add_days(other, day)
        daily(DailySettings(gate=False), other)
    (tmp_path / "where/ran").unlink()

    add_days(project, *DAYS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_API_URL": api_url()}
    killed = subprocess.Popen(
        [sys.executable, "-c", BACKFILL, str(project)], env=environment, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 100
    while len(finished(project)) < 1:
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    (tmp_path / "where/slow").touch()
    while len(ends(project)) < 2:
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    (tmp_path / "where/slow").unlink()
    while git_status(project) != "":  # its watcher puts back what it had changed
        assert time.monotonic() < deadline
        time.sleep(0.1)

    assert backfill(BackfillSettings(days=2, gate=False), project) == {DAYS[0]: "recorded before", DAYS[1]: "ran"}
    assert outputs(project) == outputs(other) and len(outputs(other)) == 2
    assert git_status(project) == git_status(other) == "" and ends(project)[:2] == DAYS
    assert set(backfill(BackfillSettings(days=2, gate=False), project).values()) == {"recorded before"}


def api_url() -> str:
    from prefect.settings import PREFECT_API_URL

    return str(PREFECT_API_URL.value())


def test_a_result_is_not_committed_on_the_branch_that_is_checked_out(project):
    from pipelines.params import compose_params
    from pipelines.record import identify, save, save_on_branch

    identity = identify(project, "daily", "none", None, compose_params(project))
    commit, _ = save(project, identity)
    branch = git(project, "rev-parse", "--abbrev-ref", "HEAD").strip()
    with pytest.raises(GitError, match=f"branch {branch} is checked out"):
        save_on_branch(project, identity, commit, branch)
    first = save_on_branch(project, identity, commit, "results")
    assert save_on_branch(project, identity, commit, "results") == first


def test_a_commit_of_the_registry_makes_no_run_another_one_and_one_of_code_does(project):
    from pipelines.params import compose_params
    from pipelines.record import identify, save

    def name() -> str:
        return identify(project, "daily", "none", None, compose_params(project)).name

    def commit(path: str) -> None:
        (project / path).parent.mkdir(exist_ok=True)
        (project / path).write_text("new")
        git(project, "add", path)
        git(project, "-c", "user.name=t", "-c", "user.email=t@e.org", "commit", "-qm", "one more", "--", path)

    first = name()
    save(project, identify(project, "daily", "none", None, compose_params(project)))
    commit("registry/history.json")
    assert name() == first
    save(project, identify(project, "daily", "none", None, compose_params(project)))
    (ref,) = git(project, "for-each-ref", "--format=%(refname)", "refs/exps").split()
    assert git(project, "rev-parse", "HEAD").strip()[2:] in ref
    commit("line.py")
    assert (second := name()) != first
    (project / "src").mkdir()
    (project / "src/new stage.py").write_text("not in git yet")
    assert (third := name()) != second
    (project / "src/new stage.py").write_text("and not the same")
    assert name() not in (second, third)


def test_a_remote_that_takes_nothing_is_named_and_the_result_is_safe(project, prefect_api, tmp_path):
    from pipelines.push import PushError, push

    (tmp_path / "file").touch()
    subprocess.run(["dvc", "remote", "add", "-q", "-d", "copy", str(tmp_path / "file/copy")], cwd=project, check=True)
    subprocess.run(["dvc", "repro", "-q", "ingest"], cwd=project, check=True)
    message = r"copy did not take the result \(\[Errno 20\] Not a directory\); .*`dvc push --run-cache` brings it there"
    with pytest.raises(PushError, match=message):
        push.with_options(retries=0)(project, ["ingest"], [])
    assert (project / "data/ingest/log").read_text() == f"{DAYS[0]}\n"


def test_a_branch_with_other_commits_is_refused_at_once(project, prefect_api, tmp_path):
    from pipelines.push import REGISTRY_BRANCH, PushRefusedError, push_registry

    repository = tmp_path / "remote.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(project), str(repository)], check=True)
    commit = git(repository, *AS_SOMEBODY, "commit-tree", "HEAD^{tree}", "-m", "of another machine").strip()
    git(repository, "update-ref", f"refs/heads/{REGISTRY_BRANCH}", commit)
    git(project, "remote", "add", "origin", str(repository))
    (project / "registry/models").mkdir(parents=True)
    (project / "registry/models/v1.dvc").write_text("outs: []\n")
    started = time.monotonic()
    with pytest.raises(PushRefusedError, match=r"git remote origin did not take the result; .*HEAD:refs/heads/"):
        push_registry(project)
    assert time.monotonic() - started < 10  # the first wait before another attempt


@pytest.mark.faults
def test_a_backfill_goes_on_without_its_remote_and_a_repeat_brings_every_day_there(
    project, prefect_api, tmp_path, monkeypatch
):
    from pipelines import push
    from pipelines.flow import NOT_PUSHED, RECORDED, backfill

    for task in (push.push, push.push_records, push.push_registry):
        monkeypatch.setattr(task, "retries", 0)
    (project / "dvc.yaml").write_text((project / "dvc.yaml").read_text().split("  train:")[0])
    remote = tmp_path / "disk/copy"
    remote.parent.touch()  # where a disk should be mounted
    subprocess.run(["dvc", "remote", "add", "-q", "-d", "copy", str(remote)], cwd=project, check=True)
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "remote.git")], check=True)
    git(project, "remote", "add", "origin", str(tmp_path / "remote.git"))
    git(project, "-c", "user.name=t", "-c", "user.email=t@e.org", "commit", "-qam", "one stage")
    add_days(project, *DAYS)
    settings = BackfillSettings(days=2, gate=False)
    with pytest.raises(push.PushError, match=r"copy did not take.*Not a directory.*the same backfill once more"):
        backfill(settings, project)
    assert len(finished(project)) == 2 and ends(project) == DAYS
    assert [row["result"] for row in artifacts("table")[-1]] == [NOT_PUSHED, NOT_PUSHED]

    remote.parent.unlink()
    remote.mkdir(parents=True)
    (project / "registry/models/v1").mkdir(parents=True)
    (project / "registry/models/v1/model").write_text("promoted while nothing could be pushed")
    subprocess.run(["dvc", "add", "-q", "registry/models/v1"], cwd=project, check=True)
    git(project, *AS_SOMEBODY, "commit", "-qm", "Promote v1", "--", "registry")
    repeat = backfill(BackfillSettings(days=2), project)  # with the gate, whose registry is pushed too
    assert set(repeat.values()) == {RECORDED} and ends(project) == DAYS
    shutil.rmtree(project / ".dvc/cache")
    shutil.rmtree(project / "registry/models/v1")
    head = git(project, "rev-parse", "HEAD").strip()
    for commit, what in [*((commit, []) for commit in finished(project).values()), (head, ["registry/models/v1.dvc"])]:
        subprocess.run(["git", "checkout", "-q", commit], cwd=project, check=True)
        subprocess.run(["dvc", "pull", "-q", "--force", *what], cwd=project, check=True)
    assert (project / "registry/models/v1/model").read_text() == "promoted while nothing could be pushed"
    heads = [line.split("\t")[1] for line in git(project, "ls-remote", "origin").splitlines()]
    assert len(heads) == 3 and f"refs/heads/{push.REGISTRY_BRANCH}" in heads


def test_a_backfill_that_ended_before_a_days_verdict_asks_for_it(project, prefect_api, monkeypatch):
    from pipelines.flow import RAN, RECORDED, backfill

    judged: list[str] = []

    def judge(settings, root):
        judged.append(settings.note)
        if len(judged) == 1:
            raise RuntimeError("production's files are not here")
        return {"status": "fail", "text": "Do not promote it.", "checks": []}

    class Gate:
        @staticmethod
        def with_options(**_):
            return judge

    monkeypatch.setattr("pipelines.promote.promote", Gate)
    add_days(project, *DAYS)
    settings = BackfillSettings(days=2, push=False)
    with pytest.raises(RuntimeError, match="production's files are not here"):
        backfill(settings, project)
    assert [name[:16] for name in finished(project)] == [f"daily-{DAYS[0]}"]
    assert set(backfill(settings, project).values()) == {RAN}
    assert [name[:16] for name in judged] == [f"daily-{day}" for day in (DAYS[0], *DAYS)]
    assert ends(project) == DAYS  # the first day's stages were cached
    assert set(backfill(settings, project).values()) == {RECORDED} and len(judged) == 3


def artifacts(key: str) -> list[list[dict]]:
    """Tables of that key, the newest last."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    return [json.loads(each.data) for each in sorted(found, key=lambda each: each.created)]
