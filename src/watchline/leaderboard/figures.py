"""Charts of the leaderboard's page: accuracy against cost, and differences with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from watchline.leaderboard.build import Leaderboard
from watchline.leaderboard.significance import Comparison
from watchline.report import Figure
from watchline.report.charts import interval_chart
from watchline.report.metric_words import TITLE
from watchline.report.scatter import Point, scatter_chart

SHOWN = ("mae_s", "xauc")
COSTS = {"seconds": "training seconds", "parameters": "parameters"}


def cost_figures(board: Leaderboard) -> list[Figure]:
    """MAE and XAUC against seconds and parameters; a chart of fewer than two points is left out.

    So is a model whose MAE is above the best constant's: it would press all others into one corner.
    """
    limit = board.best_constant.get("mae_s") or math.inf
    figures = []
    for cost, label in COSTS.items():
        for metric in SHOWN:
            points = {}
            for name, values in board.summary.items():
                if values["mae_s"].mean > limit:
                    continue
                x, y = values.get(cost), values.get(metric)
                if x and y and x.mean > 0:
                    points[name] = Point(x.mean, y.mean, y.low, y.high)
            if len(points) > 1:
                figures.append(
                    scatter_chart(points, label, TITLE[metric], f"{TITLE[metric]} against {label}", log_x=True)
                )
    return figures


def difference_figures(found: Sequence[Comparison]) -> list[Figure]:
    """Differences in MAE and XAUC with their intervals, a row a model that has one."""
    figures = []
    for metric in SHOWN:
        rows = [each for each in found if each.metric == metric and each.low is not None]
        if rows:
            values, lows, highs = ([getattr(each, part) for each in rows] for part in ("value", "low", "high"))
            label = f"{TITLE[metric]} minus that of {rows[0].reference}"
            figures.append(interval_chart([each.model for each in rows], values, lows, highs, label, TITLE[metric]))
    return figures
