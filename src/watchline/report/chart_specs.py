"""Charts as data: the name of a chart and its arguments in plain JSON, from which it can be drawn again.

A chart is drawn from the JSON form of its arguments also when it is first made, so that drawing it from a stored page
gives the same bytes.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, wraps
from typing import Any, ParamSpec

from watchline.report.blocks import Figure
from watchline.report.plain_values import as_plain, from_plain

P = ParamSpec("P")
_CHARTS: dict[str, Callable[[str], Figure]] = {}


def chart(build: Callable[P, Figure]) -> Callable[P, Figure]:
    """Make `build` a chart that can be stored: it is given plain lists, dicts, numbers and strings only."""
    signature = inspect.signature(build)

    @lru_cache(maxsize=128)
    def drawn(arguments: str) -> Figure:
        values = json.loads(arguments)
        figure = build(**from_plain(values))
        return replace(figure, spec={"chart": build.__name__, "arguments": values})

    @wraps(build)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Figure:
        bound = signature.bind(*args, **kwargs)
        return drawn(json.dumps(as_plain(bound.arguments), allow_nan=False, ensure_ascii=False))

    _CHARTS[build.__name__] = drawn
    return wrapped


def draw_again(spec: Mapping[str, Any]) -> Figure:
    """The chart that `spec` of a Figure names; raises ValueError naming one that does not exist."""
    if spec.get("chart") not in _CHARTS:
        raise ValueError(f"unknown chart {spec.get('chart')!r}; there are {', '.join(sorted(_CHARTS))}")
    return _CHARTS[spec["chart"]](json.dumps(spec["arguments"], allow_nan=False, ensure_ascii=False))
