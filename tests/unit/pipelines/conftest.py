"""The environment's programs on the path, and one Prefect API for all flows of a test process."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.__main__ import configure_environment


@pytest.fixture(autouse=True, scope="module")
def programs() -> Iterator[None]:
    """`dvc` of this environment, for the tests and what they start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        yield


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    configure_environment(tmp_path_factory.mktemp("prefect"))
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=240):
        yield
