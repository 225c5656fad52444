"""What every test starts from: Feast as it is written, torch on one thread, long files first."""

import sys
from pathlib import Path

import pytest

import watchline.feature_store  # noqa: F401  (before a test imports Feast)

TESTS = Path(__file__).parent
# Half a minute of work or more each: a worker that begins one of them last keeps the others waiting.
LONG = [
    "stages/test_line.py",
    "distributed/test_train.py",
    "stages/test_finetune.py",
    "unit/pipelines/test_leaderboard.py",
    "unit/pipelines/test_flow.py",
    "stages/test_features_excerpt.py",
    "stages/test_validate.py",
    "recipes/test_llm_sft.py",
    "stages/test_features_days.py",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the long files to the front, where `--no-loadscope-reorder` leaves them."""
    place = {TESTS / name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """A stage that ran in an earlier test set its own number of threads, which wait for each other on shared cores."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
