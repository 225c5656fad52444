"""One Spark for all of these tests, on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def spark() -> Iterator:
    if shutil.which("java") is None:
        pytest.skip("no java on the path (apt-get install default-jre-headless)")
    from watchline.spark.kernels import local_session

    session = local_session()
    yield session
    session.stop()
