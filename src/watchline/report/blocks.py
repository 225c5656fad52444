"""What a page is made of. Blocks hold values; templates/blocks.html gives them their form and escapes every string."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from watchline.report.values import Shown, show

STATUSES = {"pass": "Pass", "warn": "Warning", "fail": "Fail", "info": "Note"}
SIGNS = {"pass": "✓", "warn": "!", "fail": "✕", "info": "i"}  # so that colour is never the only difference
ONE_LINE = 32  # characters of a table's row name that stay on one line
LONG = 30  # rows from which a table scrolls in a box of its own
SHORT = 22  # characters of a verdict's text that fit on its badge in a table


def _check_status(status: str) -> None:
    if status not in STATUSES:
        raise ValueError(f"unknown status {status!r}; there are {', '.join(STATUSES)}")


@dataclass(frozen=True)
class Verdict:
    """A judgement: `status` is pass, warn, fail or info; `text` says it in words. In a table cell it is a badge.

    `word` stands on the badge in place of the status's own: Ship rather than Pass.
    """

    status: str
    text: str = ""
    word: str = ""
    kind: ClassVar[str] = "verdict"

    def __post_init__(self) -> None:
        _check_status(self.status)

    @property
    def label(self) -> str:
        """The judgement in one word."""
        return self.word or STATUSES[self.status]

    @property
    def sign(self) -> str:
        """The status in one character."""
        return SIGNS[self.status]

    @property
    def is_short(self) -> bool:
        """Whether the text fits on a badge."""
        return not self.word and 0 < len(self.text) <= SHORT


@dataclass(frozen=True)
class Link:
    """A link by relative path (or https); raises ValueError for any other scheme."""

    href: str
    text: str
    kind: ClassVar[str] = "link"

    def __post_init__(self) -> None:
        scheme = re.match(r"\s*([a-zA-Z][a-zA-Z0-9+.-]*):", self.href)
        if scheme and scheme.group(1).lower() != "https":
            raise ValueError(f"link {self.href!r}: only relative paths and https are allowed")


@dataclass(frozen=True)
class Best:
    """A table cell marked as the best of its column."""

    value: Any
    kind: ClassVar[str] = "best"


@dataclass(frozen=True)
class Text:
    """Paragraphs, parted by blank lines; `backticks` mark code."""

    text: str
    kind: ClassVar[str] = "text"

    @property
    def paragraphs(self) -> list[str]:
        """The paragraphs in order."""
        return [part.strip() for part in self.text.split("\n\n") if part.strip()]


@dataclass(frozen=True)
class Callout:
    """A remark that must not be missed; `status` is pass, warn, fail or info."""

    status: str
    text: str
    kind: ClassVar[str] = "callout"

    def __post_init__(self) -> None:
        _check_status(self.status)

    @property
    def verdict(self) -> Verdict:
        """The status alone, for its badge."""
        return Verdict(self.status)


@dataclass(frozen=True)
class Cell:
    """One formatted cell: what it is (value, verdict, link or best), its text, and how it aligns and sorts."""

    kind: str
    value: Any
    shown: Shown

    @property
    def is_short(self) -> bool:
        """Whether the text should stay on one line."""
        return len(self.shown.text) <= ONE_LINE


def cell(value: Any, spec: str | None = None) -> Cell:
    """Format one table cell or fact; a Verdict, Link or Best keeps its kind."""
    if isinstance(value, Verdict):
        return Cell(
            "verdict", value, Shown(value.text or value.label, False, f"{value.status} {value.label} {value.text}")
        )
    if isinstance(value, Link):
        return Cell("link", value, Shown(value.text, False, value.text))
    if isinstance(value, Best):
        return Cell("best", value.value, show(value.value, spec))
    return Cell("value", value, show(value, spec))


@dataclass(frozen=True)
class Facts:
    """Names and values; a value may be a Verdict or a Link. `formats` gives a number format by name."""

    values: Mapping[str, Any]
    formats: Mapping[str, str] = field(default_factory=dict)
    kind: ClassVar[str] = "facts"

    @property
    def cells(self) -> list[tuple[str, Cell]]:
        """Names with formatted values, in order."""
        return [(name, cell(value, self.formats.get(name))) for name, value in self.values.items()]


@dataclass(frozen=True)
class Table:
    """Rows under named columns, with a caption; readers can sort it by any column.

    Numbers are right-aligned and formatted by `formats` (column -> format specification); a cell may be a Verdict, a
    Link or a Best. The first column names the rows. Raises ValueError for a row of another length than `columns`.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    formats: Mapping[str, str] = field(default_factory=dict)
    kind: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        for i, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.caption!r}: row {i} has {len(row)} cells, there are {len(self.columns)} columns"
                )
        unknown = set(self.formats) - set(self.columns)
        if unknown:
            raise ValueError(f"table {self.caption!r}: formats for columns it does not have: {sorted(unknown)}")

    @property
    def cells(self) -> list[list[Cell]]:
        """Formatted cells, row by row."""
        specs = [self.formats.get(column) for column in self.columns]
        return [[cell(value, spec) for value, spec in zip(row, specs)] for row in self.rows]

    @property
    def is_long(self) -> bool:
        """Whether the table scrolls in a box of its own."""
        return len(self.rows) > LONG

    @property
    def numeric(self) -> list[bool]:
        """For each column, whether all that is there is a number."""
        columns = list(zip(*self.cells)) if self.rows else [() for _ in self.columns]
        return [
            any(c.shown.numeric for c in column) and all(c.shown.numeric or c.shown.missing for c in column)
            for column in columns
        ]


@dataclass(frozen=True)
class Key:
    """An entry of a chart's legend; `dash` is an SVG dash pattern, empty for a full line."""

    name: str
    colour: str
    dash: str = ""


@dataclass(frozen=True)
class Figure:
    """A drawn chart: inline SVG (made by `charts` only, so trusted), its title, words for who cannot see it, a legend.

    `legend` is empty when there is one series. `data` is what is drawn, as a table that readers can open; `places`
    says for its cells, (row, column) -> (x, y), where on the SVG they are drawn. `form` is `wide` when a column is a
    series over the first column, else `rows`. `spec` is the chart's name and arguments: content.py draws it anew.
    """

    svg: str
    title: str
    description: str = ""
    legend: Sequence[Key] = ()
    data: Table | None = None
    places: Mapping[tuple[int, int], tuple[float, float]] = field(default_factory=dict)
    form: str = "rows"
    spec: Mapping[str, Any] = field(default_factory=dict)
    kind: ClassVar[str] = "figure"


Block = Table | Text | Facts | Callout | Figure | Verdict | Link
