"""One page builder and one JSON form for every stage's report: `Page`, its blocks, `charts` and `write_json`."""

from watchline.report import charts
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
    "charts",
    "read_json",
    "write_json",
]
