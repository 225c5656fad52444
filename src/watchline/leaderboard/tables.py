"""Tables of the leaderboard's page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from watchline.leaderboard.build import Leaderboard
from watchline.leaderboard.plan import Published, Searched
from watchline.leaderboard.significance import Comparison
from watchline.leaderboard.summary import ACCURACY, COST, TRUST, single_models
from watchline.models.base import INTERVAL_MASS
from watchline.report import Best, Table, Verdict
from watchline.report.metric_words import DISTANCE, TITLE

HEADERS = TITLE | {
    "coverage": "within",
    "coverage_pit": "within, atoms shared out",
    "width_s": "mean width s",
    "seconds": "training s",
    "rows_per_s": "rows/s",
    "parameters": "parameters",
}
FORMATS = {
    **dict.fromkeys(("mae_s", "rmse_s", "calibration"), ".3f"),
    **dict.fromkeys(("xauc", "xauc_all_pairs", "gauc"), ".4f"),
    **dict.fromkeys(("coverage", "coverage_pit"), ".1%"),
    "width_s": ".2f",
    "seconds": ",.1f",
    "rows_per_s": ",.0f",
    "parameters": ",.0f",
}
# Of no number of cost and of no width is one marked: less is not better by itself.
IDEAL: dict[str, Callable[[float], float]] = {**DISTANCE, "coverage_pit": lambda share: abs(share - INTERVAL_MASS)}


def accuracy_table(board: Leaderboard) -> Table:
    """Models against ACCURACY, and the best constant in hindsight below."""
    table = _spread_table(board, ACCURACY)
    constant: list[Any] = ["best constant"]
    for key in ACCURACY:
        constant += [board.best_constant.get(key), None]
    return Table(table.columns, [*table.rows, constant], formats=table.formats)


def trust_table(board: Leaderboard) -> Table:
    """Models against TRUST."""
    return _spread_table(board, TRUST)


def cost_table(board: Leaderboard) -> Table:
    """Models against COST, and where they were timed."""
    rows = [
        [name, *(_mean(board, name, key) for key in COST), board.devices.get(name, "not timed")]
        for name in board.summary
    ]
    return Table(
        ["model", *(HEADERS[key] for key in COST), "on"], rows, formats={HEADERS[key]: FORMATS[key] for key in COST}
    )


def _spread_table(board: Leaderboard, keys: Sequence[str]) -> Table:
    """Mean and sd of every key; what is nearest to its ideal among the competing models is marked."""
    columns: list[str] = ["model"]
    formats: dict[str, str] = {}
    for key in keys:
        columns += [HEADERS[key], f"sd {HEADERS[key]}"]
        formats |= dict.fromkeys(columns[-2:], FORMATS[key])
    rows: list[list[Any]] = []
    for name, values in board.summary.items():
        row: list[Any] = [name]
        for key in keys:
            spread = values.get(key)
            row += [spread and spread.mean, spread and spread.sd]
        rows.append(row)
    singles = single_models(board.summary, board.plan)
    for number, key in enumerate(keys):
        _mark(rows, 2 * number + 1, IDEAL.get(key), singles)
    return Table(columns, rows, formats=formats)


def _mark(
    rows: list[list[Any]], column: int, distance: Callable[[float], float] | None, competing: Sequence[str]
) -> None:
    known = [row for row in rows if row[0] in competing and row[column] is not None]
    if distance is not None and len(known) > 1:
        best = min(known, key=lambda row: distance(row[column]))
        best[column] = Best(best[column])


def _mean(board: Leaderboard, name: str, key: str) -> float | None:
    spread = board.summary[name].get(key)
    return spread.mean if spread else None


def comparison_table(found: Sequence[Comparison]) -> Table:
    """A row a comparison; a difference in the right direction that is significant after correction is `better`."""
    numbers = ("value", "low", "high", "p_value", "p_corrected")
    rows = [
        [each.model, TITLE[each.metric], each.reference, *(getattr(each, key) for key in numbers), _judged(each)]
        for each in found
    ]
    columns = ["model", "metric", "against", "difference", "low", "high", "p", "corrected p", "verdict"]
    return Table(columns, rows, formats=dict.fromkeys(columns[3:6], "+.4f") | dict.fromkeys(columns[6:8], ".4f"))


def _judged(each: Comparison) -> Verdict:
    if each.p_value is None:
        return Verdict("info", "too few users")
    if not each.is_significant:
        return Verdict("info", "not told apart")
    improved = DISTANCE[each.metric](math.copysign(1.0, each.value)) < 0
    return Verdict("pass", "better") if improved else Verdict("warn", "worse")


def slice_tables(buckets: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Models against buckets, a table each for MAE and XAUC; a column's name holds how many rows its bucket has."""
    columns = ["model", *(f"{part['bucket']} ({part['rows']:,})" for part in buckets)]
    tables = []
    for metric in ("mae_s", "xauc"):
        rows = [[name, *(part[metric][name] for part in buckets)] for name in buckets[0][metric]]
        for column in range(1, len(columns)):
            _mark(rows, column, DISTANCE[metric], [row[0] for row in rows])
        tables.append(Table(columns, rows, TITLE[metric], dict.fromkeys(columns[1:], FORMATS[metric])))
    return tables


def loss_table(board: Leaderboard) -> Table:
    """Slices in which the line's own method is behind the winner."""
    rows = [
        [f"{loss.slice}: {loss.bucket}", loss.rows, TITLE[loss.metric], loss.subject, loss.winner, loss.gap]
        for loss in board.behind
    ]
    winners = ", ".join(f"{win.model} in {TITLE[metric]}" for metric, win in board.wins.items())
    columns = ["slice", "rows", "metric", board.plan.subject, "winner", "behind by"]
    caption = f"Where {board.plan.subject} is behind the winner ({winners}); means over the seeds, no test"
    return Table(columns, rows, caption, dict.fromkeys(columns[3:], ".4f"))


def search_table(searched: Mapping[str, Searched]) -> Table:
    """What every method's settings cost to find, and what they are."""
    columns = ["model", "fits", "valid MAE s before", "after", "gain", "setting"]
    rows = [
        [
            name,
            each.fits,
            each.before_s,
            each.after_s,
            None if each.before_s is None else each.before_s - each.after_s,
            ", ".join(f"{key} {value}" for key, value in each.setting.items()),
        ]
        for name, each in searched.items()
    ]
    return Table(columns, rows, "Search of settings, by method", dict.fromkeys(columns[2:5], ".3f"))


def published_table(block: Published) -> Table:
    """Numbers of one block, every column marked as published."""
    columns = ["method", "MAE s, as published", "XAUC, as published"]
    rows = [[row.method, row.mae_s, row.xauc] for row in block.rows]
    caption = f"Block {block.block}: {block.data}. Source: {block.source}"
    return Table(columns, rows, caption, dict.fromkeys(columns[1:], ".3f"))
