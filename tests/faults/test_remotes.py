"""A full and a missing remote: the result is safe and the page says so; a repeat brings it there, byte for byte."""

import shutil
import subprocess
from pathlib import Path

import pytest

from pipelines.git_command import git
from pipelines.settings import DailySettings
from tests.helpers.daily_project import git_status
from tests.helpers.kills import half_files, recorded, undisturbed
from tests.helpers.small_disk import small_disk

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
SETTINGS = DailySettings(gate=False, record="branch")


@pytest.fixture
def daily(prefect_api, monkeypatch: pytest.MonkeyPatch):
    """The flow, whose push does not wait minutes between its four attempts."""
    from pipelines import flow, line

    monkeypatch.setattr(line, "push", line.push.with_options(retry_delay_seconds=[0, 0, 0]))
    return flow.daily


def with_remotes(project: Path, outputs: Path, repository: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", str(repository)], check=True)
    git(project, "remote", "add", "origin", str(repository))
    subprocess.run(["dvc", "remote", "add", "-q", "-d", "copy", str(outputs)], cwd=project, check=True)
    git(project, "-c", "user.name=t", "-c", "user.email=t@e.org", "commit", "-qam", "a remote")


def assert_clone_has_it(project: Path, repository: Path, place: Path) -> None:
    """A clone gets every byte without the first machine."""
    subprocess.run(["git", "clone", "-q", "-b", "watchline-runs", str(repository), str(place)], check=True)
    subprocess.run(["dvc", "pull", "-q"], cwd=place, check=True)
    for path in (project / "models/gr").iterdir():
        assert (place / "models/gr" / path.name).read_bytes() == path.read_bytes()
    assert (place / "dvc.lock").read_text() in recorded(project).values()


def page_of_newest() -> str:
    from tests.unit.pipelines.test_flow import artifacts_of, newest_run

    return artifacts_of(newest_run())["run"].data


def test_a_full_remote(project, other, daily, tmp_path):
    from pipelines.push import PushError

    place = tmp_path / "disk"
    place.mkdir()
    with small_disk(place) as resize:
        with_remotes(project, place / "copy", tmp_path / "remote.git")
        resize("8k")
        with pytest.raises(PushError, match=r"(?s)DVC remote copy did not take the result.*dvc push.*No space left"):
            daily(SETTINGS, project)
        assert "**not pushed**: DVC remote copy did not take the result" in page_of_newest()
        assert git_status(project) == "" and len(recorded(project)) == 1
        resize("64m")
        daily(SETTINGS, project)
        assert "pushed to DVC remote copy and git remote origin" in page_of_newest()
        assert_clone_has_it(project, tmp_path / "remote.git", tmp_path / "clone")
        assert list(recorded(project).values()) == [undisturbed(other, "window.end='2024-03-02'")]
        # DVC leaves what it could not finish under names of their own, which nobody reads.
        assert not [path for path in half_files(place / "copy") if path.suffix != ".tmp"]


def test_a_hanging_remote(project, daily, tmp_path, monkeypatch):
    """It is not asked four times for six hours each while the workspace is held, and the run is recorded and told."""
    from pipelines import push

    monkeypatch.setattr(push, "_GIT_TIMEOUT_S", 3.0)
    with_remotes(project, tmp_path / "copy", tmp_path / "remote.git")
    hook = tmp_path / "remote.git/hooks/pre-receive"
    hook.write_text(f"#!/bin/sh\necho called >> {tmp_path}/calls\nsleep 600\n")
    hook.chmod(0o755)
    with pytest.raises(push.PushRefusedError, match="git remote origin did not answer within 3 s"):
        daily(SETTINGS, project)
    assert (tmp_path / "calls").read_text() == "called\n" and len(recorded(project)) == 1
    assert "**not pushed**: git remote origin did not answer" in page_of_newest() and git_status(project) == ""


def test_a_missing_remote(project, daily, tmp_path):
    from pipelines.push import PushError

    with_remotes(project, tmp_path / "mount/copy", tmp_path / "remote.git")
    (tmp_path / "mount").touch()  # nothing is mounted there
    with pytest.raises(PushError, match="DVC remote copy did not take the result"):
        daily(SETTINGS, project)
    (tmp_path / "mount").unlink()
    (tmp_path / "remote.git").rename(tmp_path / "away.git")
    with pytest.raises(PushError, match="git remote origin did not take the result"):
        daily(SETTINGS, project)
    assert "**not pushed**: git remote origin" in page_of_newest() and git_status(project) == ""
    (tmp_path / "away.git").rename(tmp_path / "remote.git")
    daily(SETTINGS, project)
    shutil.rmtree(project / ".dvc/cache")
    assert_clone_has_it(project, tmp_path / "remote.git", tmp_path / "clone")
