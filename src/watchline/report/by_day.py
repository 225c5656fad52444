"""Courses by day: lines with the splits marked and a limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from watchline.report import drawing
from watchline.report.axes import label_axes, name_ticks, plain_text
from watchline.report.blocks import Figure, Table
from watchline.report.chart_data import as_figure, grid_cells, legend_of
from watchline.report.chart_specs import chart
from watchline.report.charts import lines_of, paint_line
from watchline.report.values import show

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = Mapping[str, Sequence[float | None]]


@chart
def trend_chart(
    days: Sequence[str],
    values: Values,
    y_label: str,
    title: str,
    splits: Sequence[str] = (),
    limit: float | None = None,
) -> Figure:
    """A line per name over `days`; `splits`, the split of each day, shades every other run of days; `limit` is a line.

    Raises ValueError when a series or `splits` has not one value per day.
    """
    _check_lengths(days, {**values, **({"splits": splits} if splits else {})}, title)
    lines, names = lines_of({name: (days, ys) for name, ys in values.items()}, title)

    def paint(axes: Axes) -> list[drawing.Place]:
        for i, line in enumerate(lines.values()):
            paint_line(axes, line, i)
        if limit is not None:
            axes.axhline(limit, color=drawing.SOFT, linewidth=1, linestyle=(0, (4, 3)))
        _shade(axes, splits)
        name_ticks(axes, names)
        label_axes(axes, "", y_label)
        return [(day, np.nan if y is None else y) for ys in values.values() for day, y in enumerate(ys)]

    heads = list(values) if len(values) > 1 else [y_label]
    columns = [[day, *ys] for day, ys in zip(days, zip(*values.values()))]
    if splits:
        heads, columns = [*heads, "split"], [[*row, split] for row, split in zip(columns, splits)]
    words = "; ".join(f"{name}: {_course(days, ys)}" for name, ys in values.items())
    words += f"; limit {show(limit).text}" if limit is not None else ""
    table, cells = Table(["day", *heads], columns), grid_cells(len(days), len(values))
    description = f"{y_label} by day. {words}"
    return as_figure(drawing.draw(paint), title, description, legend_of(list(values)), table, cells, "wide")


def _shade(axes: Axes, splits: Sequence[str]) -> None:
    """Every other run of days of one split on a ground of its own, each with its name on top."""
    start = 0
    for number, (split, run) in enumerate(groupby(splits)):
        length = len(list(run))
        if number % 2:
            axes.axvspan(start - 0.5, start + length - 0.5, color=drawing.LINE, alpha=0.45, linewidth=0, zorder=0)
        axes.text(
            start + (length - 1) / 2, 1.0, plain_text(split), transform=axes.get_xaxis_transform(),
            ha="center", va="bottom", fontsize=8.5, color=drawing.SOFT,
        )  # fmt: skip
        start += length


def _check_lengths(days: Sequence[str], values: Mapping[str, Sequence[object]], title: str) -> None:
    for name, numbers in values.items():
        if len(numbers) != len(days):
            raise ValueError(f"{title}: {name} has {len(numbers)} values, there are {len(days)} days")


def _course(days: Sequence[str], values: Sequence[float | None]) -> str:
    known = [(day, y) for day, y in zip(days, values) if y is not None]
    if not known:
        return "no value"
    low, high = min(known, key=lambda item: item[1]), max(known, key=lambda item: item[1])
    return f"lowest {show(low[1]).text} on {low[0]}, highest {show(high[1]).text} on {high[0]}"
