"""From a Matplotlib figure to a small inline SVG whose colours and fonts are those of the page, light or dark.

A painter draws on axes and returns where its marks are, in the units of the data; the script of the page shows the
reader what a mark says, so `Drawn.places` has them in the units of the SVG's viewBox.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Matplotlib needs real colours: each of these stands for a CSS variable of assets/page.css and is replaced in the SVG.
INK, SOFT, LINE = "#010101", "#020202", "#030303"
SERIES = ("#0a0101", "#0a0202", "#0a0303", "#0a0404", "#0a0505", "#0a0606", "#0a0707", "#0a0808")
DASHES = ("", "6 3", "2 2.5", "8 3 2 3", "10 4", "3 5", "8 2 2 2 2 2", "14 3 4 3")
_VARIABLES = {INK: "var(--ink)", SOFT: "var(--soft)", LINE: "var(--line)"} | {
    colour: f"var(--s{i + 1})" for i, colour in enumerate(SERIES)
}

_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "watchline",
    "svg.id": None,
    "font.family": "DejaVu Sans",  # shipped with Matplotlib: the layout does not depend on the machine's fonts
    "font.size": 10.2,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.labelsize": 10.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.formatter.limits": (-4, 5),
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "text.color": INK,
    "path.simplify": False,
    "figure.dpi": 72,
}

WIDTH_IN = 5.8
_SHORTER = re.compile(r"(\d+\.\d{2})\d+")


def colour_of(i: int) -> str:
    """Stand-in colour of series `i`; colours repeat after eight."""
    return SERIES[i % len(SERIES)]


def dash_of(i: int) -> str:
    """SVG dash pattern of series `i`, so that colour is never the only difference."""
    return DASHES[i % len(DASHES)]


def line_style(i: int) -> str | tuple[int, tuple[float, ...]]:
    """Matplotlib's word for the dash pattern of series `i` at two points of line width."""
    dash = dash_of(i)
    return (0, tuple(float(part) / 2 for part in dash.split())) if dash else "-"


def series_id(i: int) -> str:
    """What a painter gives the artists of series `i` as gid: the legend's buttons find them by it."""
    return f"series-{i}"


def css_colour(colour: str) -> str:
    """The CSS variable a stand-in colour means."""
    return _VARIABLES[colour]


Place = tuple[float, float]
Painter = Callable[["Axes"], Sequence[Place]]


@dataclass(frozen=True)
class Drawn:
    """An SVG element, and where on it (x, y in units of its viewBox) each mark is; None for one not drawn."""

    svg: str
    places: list[Place | None]


def draw(paint: Painter, height_in: float = 3.0) -> Drawn:
    """Run `paint` on empty axes; no id in the SVG can clash, nothing in it tells of the machine."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({key: value for key, value in _SETTINGS.items() if key in matplotlib.rcParams}):
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        axes = figure.subplots()
        axes.patch.set_visible(False)
        axes.tick_params(length=0)
        marks = paint(axes)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        places = [_place(axes, place, height_in) for place in marks]
    return Drawn(_clean(stream.getvalue()), places)


def _place(axes: Axes, place: Place, height_in: float) -> Place | None:
    if not all(map(math.isfinite, place)):
        return None
    x, y = axes.transData.transform(place)
    return round(float(x), 1), round(72 * height_in - float(y), 1)


def _clean(svg: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'<defs>\s*<style type="text/css">.*?</style>\s*</defs>', "", svg, flags=re.S)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.S)
    svg = re.sub(r' id="series-(\d+)"', r' data-series="\1"', svg)
    used = set(re.findall(r'(?:url\(#|xlink:href="#)([^)"]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="FIGURE_ID-{m.group(1)}"' if m.group(1) in used else "", svg)
    svg = re.sub(r"url\(#([^)]+)\)", r"url(#FIGURE_ID-\1)", svg)
    svg = re.sub(r'xlink:href="#([^"]+)"', r'href="#FIGURE_ID-\1"', svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r'<svg[^>]*?(viewBox="[^"]+")[^>]*>', r"<svg \1>", svg, count=1)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r' (?:d|x|y|width|height|transform)="[^"]*"', lambda m: _SHORTER.sub(r"\1", m.group()), svg)
    svg = re.sub(r' style="[^"]*"', lambda m: m.group().replace("; ", ";"), svg)
    return re.sub(r"\s*\n\s*", "\n", svg).strip()
