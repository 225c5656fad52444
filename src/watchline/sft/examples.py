"""Instructions as pairs of texts, from JSON Lines or from a hub data set."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from watchline.sft.config import DataConfig


class Example(NamedTuple):
    """What is asked and what is to be answered."""

    query: str
    response: str


def read_examples(config: DataConfig) -> list[Example]:
    """The examples of the data set in its order, `max_examples` at most.

    Raises ValueError naming file, line and field (or data set, row and field) of the first one that is no pair of
    texts, and when there are none; OSError for a file that is not there.
    """
    found = _of_files(config.path, config) if config.path else _of_hub(config)
    examples = list(islice(found, config.max_examples))
    if not examples:
        raise ValueError(f"{config.name}: no examples; expected one JSON object per line, such as {_shape(config)}")
    return examples


def jsonl_files(path: Path) -> list[Path]:
    """The file itself, or the *.jsonl files of a folder by name; raises FileNotFoundError when there is none."""
    if path.is_file():
        return [path]
    files = sorted(path.glob("*.jsonl"))
    if not files:
        what = "the folder has no *.jsonl file" if path.is_dir() else "no such file or folder"
        raise FileNotFoundError(f"{path}: {what}; train.data.path names a JSON Lines file or a folder of them")
    return files


def _of_files(path: Path, config: DataConfig) -> Iterator[Example]:
    for file in jsonl_files(path):
        with file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield _example(_parsed(line, f"{file}:{number}", config), f"{file}:{number}", config)


def _parsed(line: bytes, where: str, config: DataConfig) -> Mapping[str, Any]:
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: not UTF-8 ({error.reason} at byte {error.start}); convert the file") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON ({error.msg} at column {error.colno}); one object per line") from None
    if not isinstance(record, dict):
        raise ValueError(f"{where}: a {type(record).__name__}, not an object such as {_shape(config)}")
    return record


def _of_hub(config: DataConfig) -> Iterator[Example]:
    try:
        import datasets
    except ImportError:
        raise ValueError(
            f"{config.id}: hub data sets need the package datasets; run `make llm` in the project's root"
        ) from None
    rows = datasets.load_dataset(config.id, config.subset, split=config.split, revision=config.revision)
    for number, record in enumerate(rows, 1):
        yield _example(record, f"{config.id}, {config.split} row {number}", config)


def _example(record: Mapping[str, Any], where: str, config: DataConfig) -> Example:
    return Example(_text(record, "query_field", where, config), _text(record, "response_field", where, config))


def _text(record: Mapping[str, Any], key: str, where: str, config: DataConfig) -> str:
    field = getattr(config, key)
    if field not in record:
        there = ", ".join(map(str, record)) or "no fields"
        raise ValueError(f"{where}: field {field!r} is missing; there are: {there}; set train.data.{key}")
    value = record[field]
    if not isinstance(value, str):
        raise ValueError(f"{where}: field {field!r} is a {type(value).__name__}, not a text: {str(value)[:80]}")
    return value


def _shape(config: DataConfig) -> str:
    return json.dumps({config.query_field: "...", config.response_field: "..."})
