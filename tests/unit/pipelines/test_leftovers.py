"""Locks of dead git and DVC commands, and those that may be of the living."""

import subprocess
from pathlib import Path

import pytest

from pipelines import leftovers
from pipelines.leftovers import clear_leftovers


@pytest.fixture
def main(tmp_path: Path) -> Path:
    """A checkout with a linked worktree beside it."""
    root = tmp_path / "main"
    root.mkdir()
    commit = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "start", "--allow-empty"]
    for command in (["git", "init", "-q"], commit, ["git", "worktree", "add", "-q", "../linked"]):
        subprocess.run(command, cwd=root, check=True)
    return root


def test_locks_that_all_worktrees_share_stay_while_another_one_is_busy(main: Path) -> None:
    linked = main.parent / "linked"
    shared, own = main / ".git/packed-refs.lock", main / ".git/worktrees/linked/index.lock"
    shared.touch()
    own.touch()
    said: list[str] = []
    waits = ["git", "cat-file", "--batch"]
    with subprocess.Popen(waits, cwd=main, stdin=subprocess.PIPE):  # until its standard input is closed, on leaving
        clear_leftovers(linked, said.append)
    assert shared.exists() and not own.exists() and len(said) == 1
    clear_leftovers(linked, said.append)
    assert not shared.exists() and len(said) == 2


def test_a_file_of_a_cache_that_others_share_stays(main: Path) -> None:
    elsewhere = main.parent / "cache"
    (elsewhere / "files").mkdir(parents=True)
    half = elsewhere / "files/.half.tmp"
    half.touch()
    (main / ".dvc").mkdir()
    (main / ".dvc/cache").symlink_to(elsewhere)
    clear_leftovers(main, print)
    assert half.exists()
    (main / ".dvc/cache").unlink()
    elsewhere.rename(main / ".dvc/cache")
    clear_leftovers(main, print)
    assert not any((main / ".dvc/cache/files").iterdir())


def test_a_lock_that_comes_while_it_is_asked_who_works_is_of_the_living(
    main: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor's `git status` begins between the question and the removal."""
    dead, alive = main / ".git/HEAD.lock", main / ".git/index.lock"
    dead.touch()
    alive.write_text("of a dead one, replaced")

    def nobody(_: object) -> bool:
        alive.unlink()
        alive.write_text("of the living, a moment later")
        monkeypatch.setattr(leftovers, "_works_in", lambda _: False)
        return False

    monkeypatch.setattr(leftovers, "_works_in", nobody)
    said: list[str] = []
    clear_leftovers(main, said.append)
    assert alive.exists() and not dead.exists() and len(said) == 1
