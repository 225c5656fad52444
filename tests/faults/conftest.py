"""What the tests of recovery share: programs on the path, one Prefect API, a project to copy."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.fault_project import make_fault_project
from tests.unit.pipelines.conftest import prefect_api, programs

__all__ = ["prefect_api", "programs"]
DAYS = ("2024-03-01", "2024-03-02")


@pytest.fixture(scope="module")
def template(programs: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_fault_project(tmp_path_factory.mktemp("template") / "project", *DAYS)


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Iterator[Path]:
    yield Path(shutil.copytree(template, tmp_path / "project"))


@pytest.fixture
def other(template: Path, tmp_path: Path) -> Path:
    """A second copy, for what an undisturbed run gives."""
    return Path(shutil.copytree(template, tmp_path / "other"))
