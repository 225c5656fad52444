"""A full disk below DVC's cache or the whole project: the error says what to do, the repeat has the same bytes."""

import shutil
from pathlib import Path

import pytest

from pipelines.settings import RunSettings
from tests.helpers.daily_project import git_status
from tests.helpers.kills import half_files, recorded, undisturbed
from tests.helpers.small_disk import small_disk

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


def test_a_full_cache(project, other, prefect_api):
    from pipelines.flow import run
    from pipelines.stage import DiskFullError

    cache = project / ".dvc/cache"
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir()
    with small_disk(cache) as resize:
        resize("8k")
        message = (
            r"(?s)stage ingest failed: the disk is full: make room.*No space left on device: '.*' -> '.*cache/files"
        )
        with pytest.raises(DiskFullError, match=message):
            run(RunSettings(), project)
        assert git_status(project) == "" and not list(half_files(cache))
        resize("64m")
        run(RunSettings(), project)
        assert list(recorded(project).values()) == [undisturbed(other)] and not list(half_files(cache))


def test_a_full_workspace(project, other, prefect_api, tmp_path):
    from pipelines.flow import run

    (tmp_path / "disk").mkdir()
    with small_disk(tmp_path / "disk") as resize:
        root = Path(shutil.copytree(project, tmp_path / "disk/project"))
        run(RunSettings(target="ingest"), root)
        for room in (0, 16_000):  # the disk fills at another moment each
            resize(f"{(shutil.disk_usage(root).used + room) // 1024}k")
            with pytest.raises(Exception, match=r"(?i)no space left|disk is full|disk I/O"):
                run(RunSettings(overrides=["train.scale=2"]), root)
        resize("64m")
        run(RunSettings(overrides=["train.scale=2"]), root)
        assert undisturbed(other, "train.scale=2") in recorded(root).values()
        assert git_status(root) == "" and not list(half_files(root / ".dvc/cache"))
