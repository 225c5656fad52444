"""Charts for pages: lines, bars, intervals, histograms. Deterministic SVG, thinned to what the eye can see."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from watchline.report import drawing
from watchline.report.blocks import Figure, Key
from watchline.report.values import show

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_POINTS = 240  # per line; a chart is about 460 CSS pixels wide
MAX_MARKED = 24  # points are marked one by one up to here

Series = Mapping[str, tuple[Any, Any]]


def line_chart(
    series: Series, x_label: str, y_label: str, title: str, log_x: bool = False, log_y: bool = False
) -> Figure:
    """One line per name over (xs, ys); xs are numbers or names in order (days). Missing ys are left out.

    Raises ValueError when xs and ys differ in length or no point is left.
    """
    lines = {name: _points(xs, ys, name, title) for name, (xs, ys) in series.items()}
    names = _category_names([xs for xs, _ in series.values()])
    if names:
        positions = {name: float(i) for i, name in enumerate(names)}
        lines = {name: (np.array([positions[str(x)] for x in xs]), ys) for name, (xs, ys) in lines.items()}

    def paint(axes: Axes) -> None:
        for i, (xs, ys) in enumerate(lines.values()):
            xs, ys = _thin(xs, ys)
            marker = "o" if len(xs) <= MAX_MARKED else None
            axes.plot(
                xs, ys, color=drawing.colour_of(i), linestyle=drawing.line_style(i), linewidth=1.8,
                marker=marker, markersize=4,
            )  # fmt: skip
        if names:
            _name_ticks(axes, names)
        label_axes(axes, x_label, y_label, log_x, log_y)

    return Figure(drawing.draw(paint), title, _describe_lines(series, x_label, y_label), _legend(list(series)))


def bar_chart(
    labels: Sequence[Any],
    values: Sequence[float | None] | Mapping[str, Sequence[float | None]],
    y_label: str,
    title: str,
) -> Figure:
    """A bar per label, or a group of bars per label when `values` is name -> values. None leaves a gap.

    Many or long labels turn the chart on its side. Raises ValueError when labels and values differ in number.
    """
    groups = dict(values) if isinstance(values, Mapping) else {"": values}
    for name, numbers in groups.items():
        _same_length(labels, numbers, f"{title}: {name or 'values'}")
    texts = [show(label).text for label in labels]
    sideways = len(texts) > 10 or sum(map(len, texts)) > 60
    thickness = 0.76 / max(len(groups), 1)

    def paint(axes: Axes) -> None:
        for i, numbers in enumerate(groups.values()):
            offsets = np.arange(len(texts)) + (i - (len(groups) - 1) / 2) * thickness
            heights = [np.nan if number is None else float(number) for number in numbers]
            draw = axes.barh if sideways else axes.bar
            draw(offsets, heights, thickness * 0.92, color=drawing.colour_of(i))
        _name_bars(axes, texts, y_label, sideways)

    height = max(2.2, 0.62 + 0.17 * len(texts) * (1 + 0.5 * len(groups))) if sideways else 3.0
    described = "; ".join(f"{name}: " * bool(name) + _pairs(texts, numbers) for name, numbers in groups.items())
    return Figure(drawing.draw(paint, height), title, f"{y_label}. {described}", _legend(list(groups), dashed=False))


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

    def paint(axes: Axes) -> None:
        rows = np.arange(len(labels))[::-1]
        if zero:
            axes.axvline(0.0, color=drawing.SOFT, linewidth=1, zorder=1)
        axes.hlines(rows, lows, highs, color=drawing.SERIES[0], linewidth=3, alpha=0.55, zorder=2)
        axes.plot(values, rows, "o", color=drawing.SERIES[0], markersize=6.5, zorder=3)
        axes.set_yticks(rows, [_two_lines(str(label)) for label in labels])
        axes.set_ylim(-0.6, len(labels) - 0.4)
        axes.grid(False, axis="y")
        _few_ticks(axes.xaxis)
        label_axes(axes, x_label, "")

    words = "; ".join(
        f"{label}: {show(value).text} (from {show(low).text} to {show(high).text})"
        for label, value, low, high in zip(labels, values, lows, highs)
    )
    return Figure(drawing.draw(paint, max(1.3, 0.75 + 0.36 * len(labels))), title, f"{x_label}. {words}")


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

    def paint(axes: Axes) -> None:
        for i, (edges, heights) in enumerate(outlines.values()):
            colour = drawing.colour_of(i)
            if len(outlines) == 1 or i == 0:
                axes.stairs(heights, edges, color=colour, fill=True, alpha=0.16, linewidth=0)
            axes.stairs(heights, edges, color=colour, linewidth=1.7, linestyle=drawing.line_style(i), baseline=None)
        label_axes(axes, x_label, y_label, log_x, log_y)
        if not log_y:
            axes.set_ylim(bottom=0)

    words = "; ".join(f"{name}: {_modes(edges, heights)}" for name, (edges, heights) in outlines.items())
    return Figure(drawing.draw(paint), title, f"{y_label} by {x_label}. {words}", _legend(list(series)))


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


def label_axes(axes: Axes, x_label: str, y_label: str, log_x: bool = False, log_y: bool = False) -> None:
    """Name both axes and scale them; the ticks of a logarithmic one read as plain numbers."""
    axes.set_xlabel(plain_text(x_label))
    axes.set_ylabel(plain_text(y_label))
    if log_x:
        axes.set_xscale("log")
        _plain_ticks(axes.xaxis)
    if log_y:
        axes.set_yscale("log")
        _plain_ticks(axes.yaxis)


def _few_ticks(axis: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(5))


def _plain_ticks(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def _name_ticks(axes: Axes, names: list[str]) -> None:
    step = -(-len(names) // 7)
    dates = all(len(name) == 10 and name[4] == name[7] == "-" for name in names)
    axes.set_xticks(range(0, len(names), step), [_short(name[5:] if dates else name, 14) for name in names[::step]])


def _name_bars(axes: Axes, texts: list[str], value_label: str, sideways: bool) -> None:
    ticks = range(len(texts))
    if sideways:
        axes.set_yticks(ticks, [_short(text) for text in texts])
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        label_axes(axes, value_label, "")
    else:
        axes.set_xticks(ticks, [_short(text, 14) for text in texts])
        axes.grid(False, axis="x")
        label_axes(axes, "", value_label)


def _short(text: str, length: int = 26) -> str:
    return plain_text(text if len(text) <= length else text[: length - 1] + "…")


def _two_lines(text: str) -> str:
    lines = textwrap.wrap(text, 26, max_lines=2, placeholder="…")
    return "\n".join(plain_text(line) for line in lines)


def plain_text(text: str) -> str:
    """Dollar signs would start Matplotlib's own mathematics."""
    return text.replace("$", r"\$")


def _legend(names: list[str], dashed: bool = True) -> list[Key]:
    if len(names) < 2:
        return []
    return [
        Key(name, drawing.css_colour(drawing.colour_of(i)), drawing.dash_of(i) if dashed else "")
        for i, name in enumerate(names)
    ]


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
