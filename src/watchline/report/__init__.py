"""One page builder and one JSON form for every stage's report: `Page`, its blocks, `charts` and `write_json`."""

from watchline.report import by_day, charts, scatter
from watchline.report.blocks import Best, Callout, Facts, Figure, Link, Table, Text, Verdict
from watchline.report.json_file import read_json, write_json
from watchline.report.page import Page

__all__ = [
    "Best",
    "Callout",
    "Facts",
    "Figure",
    "Link",
    "Page",
    "Table",
    "Text",
    "Verdict",
    "by_day",
    "charts",
    "read_json",
    "scatter",
    "write_json",
]
