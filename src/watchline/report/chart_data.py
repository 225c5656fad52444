"""The data of a chart as a table, with the place of each cell's mark on the drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from watchline.report import drawing
from watchline.report.blocks import Figure, Key, Table
from watchline.report.drawing import Drawn

Cells = Sequence[tuple[int, int]]
Lines = Mapping[str, tuple[np.ndarray, np.ndarray]]
MAX_WIDER = 1.5  # a row per x only where series share most of their xs


def as_figure(
    drawn: Drawn, title: str, description: str, legend: Sequence[Key], data: Table, cells: Cells, form: str = "rows"
) -> Figure:
    """The chart; `cells` are the (row, column) of `data` that the places of `drawn` show, in order."""
    places = {cell: place for cell, place in zip(cells, drawn.places, strict=True) if place is not None}
    return Figure(drawn.svg, title, description, legend, data, places, form)


def lines_as_table(lines: Lines, names: Sequence[str], x_label: str, y_label: str) -> tuple[Table, list, str]:
    """Table, cells and form of lines over numbers, or over positions in `names`: a row per x, or per point."""

    def shown(x: float) -> Any:
        return names[int(x)] if names else float(x)

    xs = sorted({float(x) for line_xs, _ in lines.values() for x in line_xs})
    if len(xs) > MAX_WIDER * max(len(line_xs) for line_xs, _ in lines.values()):
        points = [(name, x, y) for name, line in lines.items() for x, y in zip(*line)]
        rows = [[name, shown(x), float(y)] for name, x, y in points]
        return Table(["series", x_label, y_label], rows), [(row, 2) for row in range(len(rows))], "rows"
    row_of = {x: row for row, x in enumerate(xs)}
    table: list[list[Any]] = [[shown(x), *[None] * len(lines)] for x in xs]
    cells = []
    for column, (line_xs, line_ys) in enumerate(lines.values(), start=1):
        for x, y in zip(line_xs, line_ys):
            table[row_of[float(x)]][column] = float(y)
            cells.append((row_of[float(x)], column))
    heads = list(lines) if len(lines) > 1 else [y_label]
    return Table([x_label, *heads], table), cells, "wide"


def grid_cells(num_rows: int, num_series: int) -> list[tuple[int, int]]:
    """Cells of a table with a column per series after the first, series by series."""
    return [(row, 1 + series) for series in range(num_series) for row in range(num_rows)]


def legend_of(names: Sequence[str], dashed: bool = True) -> list[Key]:
    """An entry per series; none for one series alone."""
    if len(names) < 2:
        return []
    return [
        Key(name, drawing.css_colour(drawing.colour_of(i)), drawing.dash_of(i) if dashed else "")
        for i, name in enumerate(names)
    ]
