"""The history: only added to, whole after a kill, and read only when it is whole."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.registry_entries import entry_values
from watchline.registry import RegistryError, find, read_history
from watchline.registry.files import copy_folder, write_atomic
from watchline.registry.history import NAME, append

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def registry(tmp_path) -> Path:
    """Two promotions, the second with an odd note."""
    append(tmp_path, entry_values(1), after=0)
    append(tmp_path, entry_values(2, predecessor=1, reason='line\nend, "quote", \u2028 and ü'), after=1)
    return tmp_path


def killed(code: str, folder: Path) -> None:
    """Run `code` in a process that ends itself by SIGKILL at the rename."""
    start = "import os, signal, sys; from pathlib import Path; folder = Path(sys.argv[1]); "
    start += "Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    done = subprocess.run([sys.executable, "-c", start + code, str(folder)], env=environment, timeout=60)
    assert done.returncode == -signal.SIGKILL


def test_what_was_appended_is_read_in_order_and_the_last_is_production(registry):
    first, second = read_history(registry)
    assert (first.number, first.version, first.previous) == (1, 1, None)
    assert (second.number, second.version, second.predecessor) == (2, 2, 1)
    assert second.reason == 'line\nend, "quote", \u2028 and ü'
    assert find("production", registry) == find("v2", registry) == second
    assert find("v1", registry) == first


def test_appending_leaves_the_lines_before_as_they_are(registry):
    before = (registry / NAME).read_bytes()
    append(registry, entry_values(1, action="rollback"), after=2)
    assert (registry / NAME).read_bytes().startswith(before) and len(read_history(registry)) == 3


def test_nothing_promoted_is_an_error_that_says_how_to_promote(tmp_path):
    assert read_history(tmp_path) == []
    with pytest.raises(RegistryError, match=r"nothing is in production yet; `python -m pipelines promote`"):
        find(registry=tmp_path)


def test_an_unknown_version_is_an_error_that_lists_those_there_are(registry):
    with pytest.raises(RegistryError, match=r"no 'v7'; there are production, v1, v2"):
        find("v7", registry)


def edited(text: str, what: str) -> str:
    lines = text.splitlines(keepends=True)
    changes = {
        "cut": text[:-40],
        "half of it": text[: len(text) // 3],
        "no line end": text[:-1],
        "not JSON": text + "<<<<<<< HEAD\n",
        "an edit": text.replace("lightgbm", "lightgbn", 1),
        "a lost line": lines[-1],
        "twice": text + lines[-1],
        "order": "".join(lines[::-1]),
        "not an event": text + json.dumps({"version": 3}) + "\n",
        "a number": text + "3\n",
    }
    return changes[what]


@pytest.mark.parametrize(
    "what, line",
    [
        ("cut", 2),
        ("half of it", 1),
        ("no line end", 2),
        ("not JSON", 3),
        ("an edit", 2),
        ("a lost line", 1),
        ("twice", 3),
        ("order", 1),
        ("not an event", 3),
        ("a number", 3),
    ],
)
def test_a_broken_history_is_never_read_and_the_error_names_line_and_remedy(registry, what, line):
    path = registry / NAME
    path.write_text(edited(path.read_text(), what))
    for use in (lambda: find(registry=registry), lambda: append(registry, entry_values(3, predecessor=2), after=2)):
        with pytest.raises(RegistryError, match=rf"{NAME}: line {line} .*`git checkout -- .*{NAME}`"):
            use()


def test_a_version_is_promoted_once_and_only_promoted_ones_come_back(registry):
    append(registry, entry_values(3, action="rollback"), after=2)
    with pytest.raises(RegistryError, match=r"line 3 cannot rollback version 3"):
        read_history(registry)


def test_an_event_that_came_between_is_noticed(registry):
    append(registry, entry_values(3, predecessor=2), after=2)
    with pytest.raises(RegistryError, match=r"has 3 events, and had 2 when the candidate was judged; .*judge it again"):
        append(registry, entry_values(4, predecessor=2), after=2)


def test_a_process_killed_between_write_and_rename_leaves_the_history_as_it_was(registry):
    before = (registry / NAME).read_bytes()
    code = "from watchline.registry.history import append\n"
    code += "from tests.helpers.registry_entries import entry_values\n"
    killed(code + "append(folder, entry_values(3, predecessor=2), after=2)", registry)
    assert (registry / NAME).read_bytes() == before
    append(registry, entry_values(3, predecessor=2), after=2)  # its lock died with it, and what it left is written over
    assert find(registry=registry).version == 3


def test_a_copy_killed_before_its_rename_is_no_version_and_is_written_over(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights").write_text("new")
    (tmp_path / "models").mkdir()
    code = "from watchline.registry.files import copy_folder\ncopy_folder(folder / 'model', folder / 'models/v1')"
    killed(code, tmp_path)
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["v1.partial"]
    (tmp_path / "models/v1.partial/stale").touch()
    copy_folder(tmp_path / "model", tmp_path / "models/v1")
    assert [path.name for path in (tmp_path / "models").rglob("*")] == ["v1", "weights"]


def test_a_text_that_finds_no_room_leaves_the_old_one(tmp_path):
    path = tmp_path / "text"
    write_atomic(path, "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_atomic(path, "new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "old"


def test_of_processes_that_append_at_once_each_sees_the_others(tmp_path):
    code = """
import sys
from pathlib import Path
from tests.helpers.registry_entries import entry_values
from watchline.registry.history import RegistryError, append, read_history
folder = Path(sys.argv[1])
done = 0
while done < 5:
    events = read_history(folder)
    version = 1 + max((event.version for event in events), default=0)
    try:
        append(folder, entry_values(version, predecessor=events[-1].version if events else None), len(events))
        done += 1
    except RegistryError as error:
        assert "judge it again" in str(error)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    runs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment) for _ in range(2)]
    assert [run.wait(timeout=120) for run in runs] == [0, 0]
    assert [event.version for event in read_history(tmp_path)] == list(range(1, 11))
