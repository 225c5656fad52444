"""Points with names: one thing against another, with the spread of the second."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from watchline.report import drawing
from watchline.report.axes import label_axes, plain_text
from watchline.report.blocks import Figure, Table
from watchline.report.chart_data import as_figure
from watchline.report.chart_specs import chart
from watchline.report.values import show

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of a name, as shares of what the points span: names nearer than that to each other are moved apart.
NAME_WIDTH, NAME_HEIGHT = 0.3, 0.075


@dataclass(frozen=True)
class Point:
    """Where a point lies, and from where to where its y varies."""

    x: float
    y: float
    low: float
    high: float


@chart
def scatter_chart(points: Mapping[str, Point], x_label: str, y_label: str, title: str, log_x: bool = False) -> Figure:
    """A named point each, with a line from `low` to `high`.

    Raises ValueError without points, and naming those whose x is not above 0 where `log_x`.
    """
    if not points:
        raise ValueError(f"{title}: no point to draw")
    points = {name: Point(**point) for name, point in points.items()}
    broken = [name for name, point in points.items() if log_x and point.x <= 0]
    if broken:
        raise ValueError(f"{title}: {', '.join(broken)} must be above 0 on a logarithmic axis")

    from matplotlib.ticker import LogLocator

    def paint(axes: Axes) -> list[drawing.Place]:
        axes.set_xmargin(0.2)
        for number, (name, height) in enumerate(_name_heights(points, log_x).items()):
            point, colour = points[name], drawing.colour_of(number)
            axes.vlines(point.x, point.low, point.high, color=colour, linewidth=2.2, alpha=0.6)
            axes.plot([point.x], [point.y], "o", color=colour, markersize=6)
            axes.annotate(
                plain_text(name), (point.x, height), (6, 0), textcoords="offset points", va="center", fontsize=9
            )
        label_axes(axes, x_label, y_label, log_x)
        if log_x:
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        return [(point.x, point.y) for point in points.values()]

    words = "; ".join(f"{name}: {show(point.y).text} at {show(point.x).text}" for name, point in points.items())
    rows = [[name, point.x, point.y, point.low, point.high] for name, point in points.items()]
    table = Table(["name", x_label, y_label, "low", "high"], rows)
    cells = [(row, 2) for row in range(len(rows))]
    return as_figure(drawing.draw(paint, 3.4), title, f"{y_label} over {x_label}. {words}", [], table, cells)


def _name_heights(points: Mapping[str, Point], log_x: bool) -> dict[str, float]:
    """Where the middle of each name stands on the y axis: at its point, or above the names that would cover it."""
    across = {name: math.log10(point.x) if log_x else point.x for name, point in points.items()}
    width = NAME_WIDTH * (max(across.values()) - min(across.values()))
    step = NAME_HEIGHT * (max(point.high for point in points.values()) - min(point.low for point in points.values()))
    heights: dict[str, float] = {}
    for name, point in sorted(points.items(), key=lambda item: (item[1].y, item[0])):
        near = sorted(heights[other] for other in heights if abs(across[other] - across[name]) <= width)
        heights[name] = point.y
        for taken in near:
            if abs(heights[name] - taken) < step:
                heights[name] = taken + step
    return heights
