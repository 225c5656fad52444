"""Waiting for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float = 60, what: str = "a condition") -> T:
    """The first true answer of `condition`; fails the test when none comes in time."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() >= deadline:
            pytest.fail(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.1)
    return answer
