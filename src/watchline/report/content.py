"""A page's content as plain data: what page.json holds, from which the page is rendered, then and later.

Numbers, words and the arguments of charts, no markup: `make reports` renders stored content with the templates,
styles, script and drawing of the day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from watchline.report import by_day, charts, scatter  # noqa: F401  (their charts must be known)
from watchline.report.blocks import Best, Block, Callout, Facts, Figure, Link, Table, Text, Verdict
from watchline.report.chart_specs import draw_again
from watchline.report.plain_values import as_plain, from_plain

if TYPE_CHECKING:
    from watchline.report.page import Page

_BLOCKS = {kind.kind: kind for kind in (Table, Text, Facts, Callout, Verdict, Link)}
_IN_CELLS = {kind.kind: kind for kind in (Verdict, Link, Best)}
_TAG = "kind"


def as_content(page: Page) -> dict[str, Any]:
    """Everything a page was given, in plain JSON."""
    return {
        "stage": page.stage,
        "title": page.title,
        "lead": page.lead,
        "verdict": _of_cell(page.verdict),
        "key_figures": _of_block(page.figures) if page.figures else None,
        "sections": [
            {
                "title": section.title,
                "note": section.note,
                "half": section.half,
                "blocks": [_of_block(block) for group in section.groups for block in group],
            }
            for section in page.sections
        ],
    }


def fill(page: Page, content: Mapping[str, Any]) -> None:
    """Give `page` what `as_content` found; raises ValueError for a kind of block or chart that does not exist."""
    if content["key_figures"]:
        facts = _to_block(content["key_figures"])
        page.key_figures(facts.values, facts.formats)
    for section in content["sections"]:
        blocks = [_to_block(block) for block in section["blocks"]]
        page.section(section["title"], *blocks, note=section["note"], half=section["half"])


def verdict_from(content: Mapping[str, Any]) -> Verdict | None:
    """The verdict of a page, where it has one."""
    verdict: Verdict | None = _to_cell(content["verdict"])
    return verdict


def _of_block(block: Block) -> dict[str, Any]:
    if isinstance(block, Figure):
        if not block.spec:
            raise ValueError(f"figure {block.title!r} was not made by a chart, so it cannot be stored")
        return {_TAG: "figure", **block.spec}
    if isinstance(block, Table):
        rows = [[_of_cell(value) for value in row] for row in block.rows]
        return {_TAG: "table", **_of_fields(block), "rows": rows}
    if isinstance(block, Facts):
        return {_TAG: "facts", **_of_fields(block), "values": {str(k): _of_cell(v) for k, v in block.values.items()}}
    return {_TAG: block.kind, **_of_fields(block)}


def _of_fields(block: Any) -> dict[str, Any]:
    return {part.name: as_plain(getattr(block, part.name)) for part in fields(block)}


def _of_cell(value: Any) -> Any:
    if isinstance(value, Best):
        return {_TAG: "best", "value": _of_cell(value.value)}
    if isinstance(value, Verdict | Link):
        return {_TAG: value.kind, **_of_fields(value)}
    # A mapping of a parameter may have any key; under a tag of its own it is never taken for one of ours.
    return {_TAG: "mapping", "items": as_plain(value)} if isinstance(value, Mapping) else as_plain(value)


def _to_block(stored: Mapping[str, Any]) -> Any:
    kind, values = stored[_TAG], {name: value for name, value in stored.items() if name != _TAG}
    if kind == "figure":
        return draw_again(values)
    if kind == "table":
        return Table(**values | {"rows": [[_to_cell(value) for value in row] for row in values["rows"]]})
    if kind == "facts":
        return Facts({name: _to_cell(value) for name, value in values["values"].items()}, values["formats"])
    if kind not in _BLOCKS:
        raise ValueError(f"unknown block {kind!r}; there are figure, {', '.join(_BLOCKS)}")
    return _BLOCKS[kind](**values)


def _to_cell(stored: Any) -> Any:
    if not isinstance(stored, dict) or _TAG not in stored:
        return from_plain(stored)
    kind, values = stored[_TAG], {name: value for name, value in stored.items() if name != _TAG}
    if kind == "mapping":
        return from_plain(values["items"])
    if kind not in _IN_CELLS:
        raise ValueError(f"unknown cell {kind!r}; there are mapping, {', '.join(_IN_CELLS)}")
    return Best(_to_cell(values["value"])) if kind == "best" else _IN_CELLS[kind](**values)
