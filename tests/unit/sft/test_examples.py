"""Instructions from JSON Lines and from hub data sets."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from watchline.sft.config import DataConfig
from watchline.sft.examples import Example, read_examples

GOOD = '{"query": "a {b}?", "response": "c"}\n'


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_lines_become_examples_in_order_and_blank_lines_are_none(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", GOOD + "\n" + json.dumps({"query": "é", "response": "", "more": 1}) + "\n")
    assert read_examples(DataConfig(path=file)) == [Example("a {b}?", "c"), Example("é", "")]


def test_a_folder_is_read_file_by_file_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write(tmp_path / f"{name}.jsonl", json.dumps({"query": name, "response": "r"}))
    write(tmp_path / "notes.txt", "not read")
    assert [example.query for example in read_examples(DataConfig(path=tmp_path))] == ["a", "b"]


def test_fields_are_named_by_the_settings_and_max_examples_takes_the_first(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", "".join(f'{{"q": "{i}", "r": "{i}"}}\n' for i in range(5)))
    config = DataConfig(path=file, query_field="q", response_field="r", max_examples=2)
    assert read_examples(config) == [Example("0", "0"), Example("1", "1")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{oops}", "not JSON"),
        (b"[1]", "a list, not an object"),
        (b'{"query": "a", "answer": "b"}', "field 'response' is missing; there are: query, answer; set train.data.res"),
        (b'{"query": "a", "response": 7}', "field 'response' is a int, not a text: 7"),
        (b'{"query": "\xff"}', "not UTF-8"),
    ],
)
def test_a_broken_line_is_named_with_file_line_and_field(tmp_path: Path, line: bytes, message: str) -> None:
    file = write(tmp_path / "a.jsonl", GOOD.encode() + line + b"\n")
    with pytest.raises(ValueError, match=re.escape(f"{file}:2: ") + ".*" + re.escape(message)):
        read_examples(DataConfig(path=file))


def test_no_file_and_no_example_are_errors_that_name_the_place(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.jsonl: no such file"):
        read_examples(DataConfig(path=tmp_path / "none.jsonl"))
    with pytest.raises(FileNotFoundError, match=r"the folder has no \*\.jsonl"):
        read_examples(DataConfig(path=tmp_path))
    with pytest.raises(ValueError, match=r"empty\.jsonl: no examples"):
        read_examples(DataConfig(path=write(tmp_path / "empty.jsonl", "\n")))


def test_a_hub_data_set_is_asked_for_by_id_subset_split_and_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="hub data sets need the package datasets: make llm")
    asked: list[Any] = []

    def load_dataset(*args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        asked.append((args, kwargs))
        return [{"query": "a", "response": "b"}, {"query": "a", "response": None}]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    config = DataConfig(id="owner/set", subset="main", split="test", revision="abc", max_examples=1)
    assert read_examples(config) == [Example("a", "b")]
    assert asked == [(("owner/set", "main"), {"split": "test", "revision": "abc"})]
    with pytest.raises(ValueError, match="owner/set, train row 2: field 'response' is a NoneType"):
        read_examples(DataConfig(id="owner/set"))
