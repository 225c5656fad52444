"""Sums in one order, whatever the machine has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.threads import one_thread


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield
