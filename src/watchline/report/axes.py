"""What charts do to Matplotlib's axes: names, scales, ticks that fit."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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


def few_ticks(axis: Any) -> None:
    """At most six ticks."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(5))


def _plain_ticks(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def name_ticks(axes: Axes, names: list[str], most: int = 7) -> None:
    """Names under the positions 0, 1, ...; only every so many where there are more than `most`."""
    step = -(-len(names) // most)
    days = are_days(names)
    axes.set_xticks(range(0, len(names), step), [_short(name[5:] if days else name, 14) for name in names[::step]])


def are_days(names: list[str]) -> bool:
    """Whether all of them read as 2024-03-01."""
    return all(len(name) == 10 and name[4] == name[7] == "-" for name in names)


def name_bars(axes: Axes, texts: list[str], value_label: str, sideways: bool) -> None:
    """Name the bars and their scale."""
    ticks = range(len(texts))
    if sideways:
        axes.set_yticks(ticks, [_short(text) for text in texts])
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        label_axes(axes, value_label, "")
    else:
        name_ticks(axes, texts, most=7 if are_days(texts) else len(texts))
        axes.grid(False, axis="x")
        label_axes(axes, "", value_label)


def _short(text: str, length: int = 26) -> str:
    return plain_text(text if len(text) <= length else text[: length - 1] + "…")


def two_lines(text: str) -> str:
    """A long name broken once."""
    lines = textwrap.wrap(text, 26, max_lines=2, placeholder="…")
    return "\n".join(plain_text(line) for line in lines)


def plain_text(text: str) -> str:
    """Dollar signs would start Matplotlib's own mathematics."""
    return text.replace("$", r"\$")
