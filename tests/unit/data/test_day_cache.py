"""The cache of finished days."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from watchline.data.day_cache import DayCache, code_digest, digest_of, fetch, in_order


def write(text: str):
    return lambda folder: (folder / "part").write_text(text)


def test_the_same_inputs_are_made_once_and_others_again(tmp_path: Path) -> None:
    cache = DayCache(tmp_path, "code")
    first = cache.entry({"day": "a"}, write("one"))
    assert cache.entry({"day": "a"}, write("never")) == first
    assert (first / "part").read_text() == "one"
    assert cache.entry({"day": "b"}, write("two")) != first
    assert DayCache(tmp_path, "other code").entry({"day": "a"}, write("three")) != first
    assert (cache.num_made, cache.num_fetched) == (2, 1)


def test_work_that_fails_leaves_no_entry(tmp_path: Path) -> None:
    cache = DayCache(tmp_path, "code")

    def fail(folder: Path) -> None:
        (folder / "part").write_text("half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        cache.entry({"day": "a"}, fail)
    assert not list((tmp_path / "entries").iterdir())
    assert (cache.entry({"day": "a"}, write("whole")) / "part").read_text() == "whole"


def test_entries_that_the_last_runs_did_not_use_are_removed(tmp_path: Path) -> None:
    for run in range(6):
        cache = DayCache(tmp_path, "code")
        cache.entry({"day": "always"}, write("x"))
        if run == 0:
            cache.entry({"day": "once"}, write("x"))
        cache.close()
        assert len(list((tmp_path / "entries").iterdir())) == (2 if run < 5 else 1)
    assert len(list((tmp_path / "runs").iterdir())) == 5


def test_a_fetched_file_is_a_copy(tmp_path: Path) -> None:
    entry = DayCache(tmp_path / "cache", "code").entry({}, write("kept"))
    fetch(entry, "part", tmp_path / "out/date=x/part")
    (tmp_path / "out/date=x/part").write_text("changed")
    assert (entry / "part").read_text() == "kept"


def test_digests_follow_values_contents_and_code(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("1")
    first = digest_of({"x": 1}, [path])
    assert digest_of({"x": 1}, [path]) == first
    assert digest_of({"x": 2}, [path]) != first
    path.write_text("2")
    assert digest_of({"x": 1}, [path]) != first
    assert code_digest("data") != code_digest("data/tables.py")


def test_two_threads_with_the_same_inputs_get_the_same_entry(tmp_path: Path) -> None:
    cache, together = DayCache(tmp_path, "code"), threading.Barrier(2)

    def make(folder: Path) -> None:
        (folder / "part").write_text("same")
        together.wait(10)

    first, second = in_order(lambda _: cache.entry({"day": "a"}, make), range(2))
    assert first == second
    assert [path.read_text() for path in tmp_path.rglob("part")] == ["same"]


def test_results_come_in_order_and_items_are_drawn_as_needed() -> None:
    drawn = []

    def items():
        for number in range(6):
            drawn.append(number)
            yield number

    results = in_order(lambda number: number * number, items())
    assert next(results) == 0
    assert drawn == [0, 1, 2]
    assert list(results) == [1, 4, 9, 16, 25]
