"""registry/history.jsonl: one line an event, never changed after; the last line says what is in production.

Every line holds the hash of the one before it, so that an edit, a lost line or a merge of two histories is noticed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from watchline.config import Config, ConfigError, parse
from watchline.registry.files import alone, write_atomic

NAME = "history.jsonl"


class RegistryError(ValueError):
    """What the registry cannot give or take; the message says why and what to do."""


class Summary(Config):
    """A verdict of the gate: pass, fail or info, and one sentence."""

    status: Literal["pass", "fail", "info"]
    text: str


class Lock(Config):
    """What made a version: hash of params.yaml and, of the outputs in dvc.lock, path and DVC's hash."""

    params: str
    outputs: dict[str, str]


class Entry(Config):
    """One event. A rollback repeats what the version's promotion said, and names why and when it was brought back."""

    number: int = Field(ge=1, description="of the event, from 1")
    action: Literal["promote", "rollback"]
    version: int = Field(ge=1, description="in production from here on; its files are in registry/models/vVERSION")
    predecessor: int | None = Field(description="version that a rollback from here brings back; None for none")
    at: str = Field(description="UTC, to the second; for readers: the order is that of the lines")
    commit: str | None = Field(description="git commit of the code, where it is known")
    model: str = Field(min_length=1, description="folder in models/ that it came from")
    method: str = Field(min_length=1, description="a key of watchline.models.MODULES")
    statistic: str = Field(min_length=1, description="what it ranks by")
    window: dict[str, str] = Field(description="the eval days it was judged on")
    files: dict[str, str] = Field(min_length=1, description="path -> SHA-256")
    digest: str = Field(description="SHA-256 of `files`")
    lock: Lock
    metrics: dict[str, float | None]
    card: str = Field(description="path of the model card, below registry/")
    verdict: Summary
    reason: str
    previous: str | None = Field(description="SHA-256 of the line before; None for the first")


def read_history(registry: Path) -> list[Entry]:
    """Every event in order, none where nothing was promoted yet.

    Raises RegistryError naming file, line and remedy when a line is cut short, edited, or not of this history.
    """
    path = registry / NAME
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    if text and not text.endswith("\n"):
        raise _broken(path, text.count("\n") + 1, "is cut short")
    entries: list[Entry] = []
    before: str | None = None
    for number, line in enumerate(_lines(text), start=1):
        entry = _parse(path, number, line)
        if entry.number != number or entry.previous != before:
            raise _broken(path, number, "does not follow from the line before: a line was changed, lost or merged in")
        if (entry.action == "promote") == any(each.version == entry.version for each in entries):
            raise _broken(path, number, f"cannot {entry.action} version {entry.version} here")
        entries.append(entry)
        before = hash_line(line)
    return entries


def taken_back(entries: Sequence[Entry]) -> dict[str, tuple[Entry, Entry]]:
    """Digest -> the version and the rollback that took it out of production, of those that are not back since."""
    found: dict[str, tuple[Entry, Entry]] = {}
    for before, entry in itertools.pairwise(entries):
        if entry.action == "rollback":
            found[before.digest] = before, entry
        found.pop(entry.digest, None)
    return found


def append(registry: Path, values: dict[str, Any], after: int, card: str | None = None) -> Entry:
    """Add one event (`values`: an Entry but for `number` and `previous`), its model `card` before it; returns it.

    `after`: the number of events that the caller knew. Raises RegistryError when there are others by now, so that of
    two promotions at once the second is not lost in the first, nor judged against what is no longer in production; it
    has then written nothing.
    """
    with alone(registry):
        entries = read_history(registry)
        if len(entries) != after:
            raise RegistryError(
                f"{registry / NAME}: has {len(entries)} events, and had {after} when the candidate was judged; "
                "another promotion or rollback came between, so judge it again"
            )
        path = registry / NAME
        text = path.read_text(encoding="utf-8") if entries else ""
        previous = hash_line(_lines(text)[-1]) if entries else None
        entry: Entry = parse(Entry, {**values, "number": after + 1, "previous": previous}, "registry entry")
        if card is not None:
            write_atomic(registry / entry.card, card)
        write_atomic(path, text + json.dumps(entry.model_dump(), sort_keys=True, ensure_ascii=False) + "\n")
    return entry


def hash_line(line: str) -> str:
    """SHA-256 of a line without its end."""
    return hashlib.sha256(line.encode()).hexdigest()


def _lines(text: str) -> list[str]:
    return text.split("\n")[:-1]  # not splitlines: a note may hold other line ends, which JSON leaves as they are


def _parse(path: Path, number: int, line: str) -> Entry:
    try:
        return parse(Entry, json.loads(line), f"{path}: line {number}")
    except ConfigError as error:
        raise _broken(path, number, f"is no event of the registry ({str(error).splitlines()[0]})") from None
    except ValueError as error:
        raise _broken(path, number, f"is not JSON ({error})") from None


def _broken(path: Path, number: int, what: str) -> RegistryError:
    return RegistryError(
        f"{path}: line {number} {what}. Nothing is read from a history that is not whole: `git checkout -- {path}` "
        "brings the last committed one, `git log -p` shows what it held; then promote or roll back again"
    )
