"""Charts for pages: lines, bars, intervals, histograms. Deterministic SVG, thinned to what the eye can see.

Every chart says in words what it shows, and has its data as a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from watchline.report import drawing
from watchline.report.axes import are_days, few_ticks, label_axes, name_bars, name_ticks, two_lines
from watchline.report.blocks import Figure, Table
from watchline.report.chart_data import as_figure, grid_cells, legend_of, lines_as_table
from watchline.report.chart_specs import chart
from watchline.report.values import show

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_POINTS = 240  # per line; a chart is about 460 CSS pixels wide
MAX_MARKED = 24  # points are marked one by one up to here

Series = Mapping[str, tuple[Any, Any]]


@chart
def line_chart(
    series: Series, x_label: str, y_label: str, title: str, log_x: bool = False, log_y: bool = False
) -> Figure:
    """One line per name over (xs, ys); xs are numbers or names in order (days). Missing ys are left out.

    Raises ValueError when xs and ys differ in length or no point is left.
    """
    lines, names = lines_of(series, title)

    def paint(axes: Axes) -> list[drawing.Place]:
        for i, line in enumerate(lines.values()):
            paint_line(axes, line, i)
        if names:
            name_ticks(axes, names)
        label_axes(axes, x_label, y_label, log_x, log_y)
        return [place for xs, ys in lines.values() for place in zip(xs, ys)]

    table, cells, form = lines_as_table(lines, names, x_label, y_label)
    words = _describe_lines(series, x_label, y_label)
    return as_figure(drawing.draw(paint), title, words, legend_of(list(series)), table, cells, form)


def lines_of(series: Series, title: str) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    """Name -> (xs, ys), thinned, and the names of xs that are none numbers: their positions stand for them."""
    lines = {name: _points(xs, ys, name, title) for name, (xs, ys) in series.items()}
    names = _category_names([xs for xs, _ in series.values()])
    if names:
        positions = {name: float(i) for i, name in enumerate(names)}
        lines = {name: (np.array([positions[str(x)] for x in xs]), ys) for name, (xs, ys) in lines.items()}
    return {name: _thin(xs, ys) for name, (xs, ys) in lines.items()}, names


def paint_line(axes: Axes, line: tuple[np.ndarray, np.ndarray], i: int) -> None:
    """Series `i`, with a dot per point where there are few."""
    marker = "o" if len(line[0]) <= MAX_MARKED else None
    axes.plot(
        *line, color=drawing.colour_of(i), linestyle=drawing.line_style(i), linewidth=1.8,
        marker=marker, markersize=4, gid=drawing.series_id(i),
    )  # fmt: skip


@chart
def bar_chart(
    labels: Sequence[Any],
    values: Sequence[float | None] | Mapping[str, Sequence[float | None]],
    y_label: str,
    title: str,
) -> Figure:
    """A bar per label, or a group of bars per label when `values` is name -> values. None leaves a gap.

    Many or long labels turn the chart on its side, but for days. Raises ValueError when labels and values differ in
    number.
    """
    groups = dict(values) if isinstance(values, Mapping) else {"": values}
    for name, numbers in groups.items():
        _same_length(labels, numbers, f"{title}: {name or 'values'}")
    texts = [show(label).text for label in labels]
    sideways = not are_days(texts) and (len(texts) > 10 or sum(map(len, texts)) > 60)
    thickness = 0.76 / max(len(groups), 1)

    def paint(axes: Axes) -> list[drawing.Place]:
        places: list[drawing.Place] = []
        for i, numbers in enumerate(groups.values()):
            offsets = np.arange(len(texts)) + (i - (len(groups) - 1) / 2) * thickness
            heights = [np.nan if number is None else float(number) for number in numbers]
            draw = axes.barh if sideways else axes.bar
            for patch in draw(offsets, heights, thickness * 0.92, color=drawing.colour_of(i)):
                patch.set_gid(drawing.series_id(i))
            places += zip(heights, offsets) if sideways else zip(offsets, heights)
        name_bars(axes, texts, y_label, sideways)
        return places

    height = max(2.2, 0.62 + 0.17 * len(texts) * (1 + 0.5 * len(groups))) if sideways else 3.0
    described = "; ".join(f"{name}: " * bool(name) + _pairs(texts, numbers) for name, numbers in groups.items())
    table = Table(["name", *(name or y_label for name in groups)], list(map(list, zip(labels, *groups.values()))))
    cells = grid_cells(len(texts), len(groups))
    drawn, legend = drawing.draw(paint, height), legend_of(list(groups), dashed=False)
    return as_figure(drawn, title, f"{y_label}. {described}", legend, table, cells, "wide")


@chart
def interval_chart(
    labels: Sequence[str],
    values: Sequence[float],
    lows: Sequence[float],
    highs: Sequence[float],
    x_label: str,
    title: str,
    zero: bool = True,
) -> Figure:
    """A point with its interval per label, first label on top; `zero` marks 0. Raises ValueError on unequal lengths."""
    for numbers in (values, lows, highs):
        _same_length(labels, numbers, title)

    def paint(axes: Axes) -> list[drawing.Place]:
        rows = np.arange(len(labels))[::-1]
        if zero:
            axes.axvline(0.0, color=drawing.SOFT, linewidth=1, zorder=1)
        axes.hlines(rows, lows, highs, color=drawing.SERIES[0], linewidth=3, alpha=0.55, zorder=2)
        axes.plot(values, rows, "o", color=drawing.SERIES[0], markersize=6.5, zorder=3)
        axes.set_yticks(rows, [two_lines(str(label)) for label in labels])
        axes.set_ylim(-0.6, len(labels) - 0.4)
        axes.grid(False, axis="y")
        few_ticks(axes.xaxis)
        label_axes(axes, x_label, "")
        return list(zip(values, rows))

    words = "; ".join(
        f"{label}: {show(value).text} (from {show(low).text} to {show(high).text})"
        for label, value, low, high in zip(labels, values, lows, highs)
    )
    table = Table(["name", x_label, "low", "high"], list(map(list, zip(labels, values, lows, highs))))
    cells = [(row, 1) for row in range(len(labels))]
    drawn = drawing.draw(paint, max(1.3, 0.75 + 0.36 * len(labels)))
    return as_figure(drawn, title, f"{x_label}. {words}", [], table, cells)


@chart
def histogram_chart(
    series: Series,
    x_label: str,
    title: str,
    y_label: str = "share of rows",
    log_x: bool = False,
    log_y: bool = False,
    share: bool = True,
) -> Figure:
    """Counts between edges, name -> (edges of N + 1, counts of N), as outlines; `share` divides by each sum.

    Raises ValueError when edges and counts do not fit.
    """
    outlines: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, (edges, counts) in series.items():
        edges_, counts_ = np.asarray(edges, float), np.asarray(counts, float)
        if len(edges_) != len(counts_) + 1:
            raise ValueError(f"{title}: {name}: {len(edges_)} edges for {len(counts_)} counts; one more is needed")
        outlines[name] = (edges_, counts_ / counts_.sum() if share and counts_.sum() else counts_)

    def paint(axes: Axes) -> list[drawing.Place]:
        for i, (edges, heights) in enumerate(outlines.values()):
            style = {"color": drawing.colour_of(i), "gid": drawing.series_id(i)}
            if len(outlines) == 1 or i == 0:
                axes.stairs(heights, edges, fill=True, alpha=0.16, linewidth=0, **style)
            axes.stairs(heights, edges, linewidth=1.7, linestyle=drawing.line_style(i), baseline=None, **style)
        label_axes(axes, x_label, y_label, log_x, log_y)
        if not log_y:
            axes.set_ylim(bottom=0)
        return [place for outline in outlines.values() for place in _bin_middles(*outline, log_x)]

    words = "; ".join(f"{name}: {_modes(edges, heights)}" for name, (edges, heights) in outlines.items())
    rows = [
        [name, low, high, height]
        for name, (edges, heights) in outlines.items()
        for low, high, height in zip(edges, edges[1:], heights)
    ]
    table = Table(["series", f"{x_label}, from", "to", y_label], rows)
    cells = [(row, 3) for row in range(len(rows))]
    drawn = drawing.draw(paint)
    return as_figure(drawn, title, f"{y_label} by {x_label}. {words}", legend_of(list(series)), table, cells)


def _bin_middles(edges: np.ndarray, heights: np.ndarray, log_x: bool) -> list[drawing.Place]:
    low, high = edges[:-1], edges[1:]
    return list(zip(np.sqrt(low * high) if log_x else (low + high) / 2, heights))


def _points(xs: Any, ys: Any, name: str, title: str) -> tuple[np.ndarray, np.ndarray]:
    xs, ys = list(xs), list(ys)
    _same_length(xs, ys, f"{title}: {name}")
    kept = [(x, float(y)) for x, y in zip(xs, ys) if x is not None and y is not None and np.isfinite(y)]
    if not kept:
        raise ValueError(f"{title}: series {name!r} has no point to draw")
    named = not all(isinstance(x, int | float | np.number) for x, _ in kept)
    return np.array([str(x) if named else float(x) for x, _ in kept]), np.array([y for _, y in kept])


def _category_names(columns: list[Any]) -> list[str]:
    values = [x for xs in columns for x in xs if x is not None]
    if all(isinstance(x, int | float | np.number) for x in values):
        return []
    return list(dict.fromkeys(str(x) for x in values))


def _thin(xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most MAX_POINTS points: the lowest and the highest of each stretch, so that no peak is lost."""
    if len(xs) <= MAX_POINTS:
        return xs, ys
    keep = {0, len(xs) - 1}
    for part in np.array_split(np.arange(len(xs)), MAX_POINTS // 2 - 1):
        keep |= {int(part[np.argmin(ys[part])]), int(part[np.argmax(ys[part])])}
    index = np.array(sorted(keep))
    return xs[index], ys[index]


def _same_length(first: Any, second: Any, where: str) -> None:
    if len(first) != len(second):
        raise ValueError(f"{where}: {len(first)} and {len(second)} values; there must be as many of both")


def _pairs(labels: Sequence[str], values: Sequence[float | None]) -> str:
    return ", ".join(f"{label} {show(value).text}" for label, value in zip(labels, values))


def _describe_lines(series: Series, x_label: str, y_label: str) -> str:
    parts = []
    for name, (xs, ys) in series.items():
        kept = [(x, y) for x, y in zip(xs, ys) if y is not None and np.isfinite(y)]
        numbers = [float(y) for _, y in kept]
        parts.append(
            f"{name}: from {show(numbers[0]).text} at {show(kept[0][0]).text} to {show(numbers[-1]).text} at "
            f"{show(kept[-1][0]).text}, lowest {show(min(numbers)).text}, highest {show(max(numbers)).text}"
        )
    return f"{y_label} over {x_label}. " + "; ".join(parts)


def _modes(edges: np.ndarray, heights: np.ndarray) -> str:
    if not len(heights):
        return "empty"
    top = int(np.argmax(heights))
    return f"highest, {show(float(heights[top])).text}, from {show(edges[top]).text} to {show(edges[top + 1]).text}"
