"""Which days of a source an earlier run read otherwise: late rows of an old day, rows taken out or changed.

The note on the last run lies with the cache of finished days. It tells people what is new and decides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from watchline.data.sources.base import DayFacts

NOTE = "last_days.json"


def describe_changes(directory: Path, origin: str, days: Mapping[date, DayFacts]) -> list[str]:
    """A line for each day that the last run of the same `origin` read otherwise, and one for the new days."""
    try:
        note = json.loads((directory / NOTE).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return []
    if note.get("origin") != origin:
        return []
    known = {date.fromisoformat(name): facts for name, facts in note["days"].items()}
    lines = [_line(day, known[day], days[day]) for day in sorted(known.keys() & days) if known[day][0] != days[day].key]
    gone, new = sorted(known.keys() - days), sorted(days.keys() - known)
    lines += [f"{day}: no longer in the source" for day in gone]
    if new:
        lines.append(f"new since the last run: {', '.join(map(str, new))}")
    return lines


def note_days(directory: Path, origin: str, days: Mapping[date, DayFacts]) -> None:
    """Leave the note for the next run."""
    directory.mkdir(parents=True, exist_ok=True)
    values = {day.isoformat(): [facts.key, facts.rows] for day, facts in sorted(days.items())}
    temporary = directory / f"{NOTE}.tmp"
    temporary.write_text(json.dumps({"origin": origin, "days": values}))
    temporary.replace(directory / NOTE)


def _line(day: date, known: tuple[str, int], facts: DayFacts) -> str:
    more = facts.rows - known[1]
    if more > 0:
        return f"{day}: {more:,} late rows since the last run ({facts.rows:,} now); the day is done anew"
    what = f"{-more:,} rows fewer than" if more else "rows changed since"
    return f"{day}: {what} the last run ({facts.rows:,} now); the day is done anew"
