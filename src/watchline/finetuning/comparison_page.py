"""Methods side by side on the page of the finetune stage."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from typing import Any

from watchline.adapters.spectrum import Update
from watchline.finetuning.comparison import Comparison, Run
from watchline.report import Callout, Figure, Page, Table
from watchline.report.charts import line_chart

_METRICS = {"loss": "loss", "mae_s": "MAE, s", "xauc": "XAUC"}
_PARTS = ("mean", "± sd")


def comparison_metrics(comparison: Comparison) -> dict[str, Any]:
    """Mean and standard deviation over the seeds of every metric, by name of the setting."""
    return {"methods": {name: _over_seeds(runs) for name, runs in comparison.runs.items()}}


def comparison_sections(page: Page, comparison: Comparison) -> None:
    """Table of metrics, held-out loss, and the updates of every weight by method."""
    seeds = len(next(iter(comparison.runs.values())))
    page.section("Methods side by side", _verdict(comparison), _metric_table(comparison), note=_note(seeds))
    page.section("Held-out loss by method", _loss_figure(comparison), note="The first seed of each.")
    page.section(
        "Rank of the updates by method",
        _weight_table(comparison, lambda update: f"{update.numerical_rank} ({update.energy_rank})", {}),
        note="Numerical rank, and in brackets how many singular values hold 99 % of the squared norm; the first seed.",
    )
    page.section(
        "Norm of the updates by method",
        _weight_table(comparison, lambda update: update.relative_norm, dict.fromkeys(comparison.runs, ".3%")),
        note="Frobenius norm of the update over that of the weight; the first seed.",
    )
    page.section(
        "Singular spectrum by method", *_spectra(comparison), note="Over the largest singular value; the first seed."
    )


def _over_seeds(runs: list[Run]) -> dict[str, float]:
    values = {name: [run.metrics[name] for run in runs] for name in _METRICS}
    means = {name: statistics.fmean(series) for name, series in values.items()}
    spread = {f"{name}_sd": statistics.stdev(series) for name, series in values.items() if len(series) > 1}
    return means | spread


def _note(seeds: int) -> str:
    return (
        f"Held-out rows, mean and standard deviation of {seeds} seeds, which draw the order of rows, dropout and what "
        "starts at random, on the same rows; every setting keeps the step of its lowest held-out loss. Rate: peak "
        "learning rate. Rank: of one process's part; total: of all slices together. A fair reading compares methods at "
        "the same rank and at the same total rank, each at a rate that suits it."
    )


def _verdict(comparison: Comparison) -> Callout:
    means = {name: _over_seeds(runs) for name, runs in comparison.runs.items()}
    best = min(means, key=lambda name: means[name]["loss"])
    gain = comparison.before["loss"] - means[best]["loss"]
    if gain <= 0:
        return Callout("warn", "No method lowered the held-out loss on average: the model as it came is the best.")
    close = [name for name in means if name != best and _is_close(means[name], means[best])]
    text = f"{best} has the lowest held-out loss, {gain:.4f} below the model as it came."
    if close:
        text += f" Less above it than their two standard deviations over seeds together: {', '.join(close)}."
    return Callout("info", text)


def _is_close(mean: Mapping[str, float], best: Mapping[str, float]) -> bool:
    spread = math.hypot(mean.get("loss_sd", 0.0), best.get("loss_sd", 0.0))
    return mean["loss"] - best["loss"] <= spread


def _metric_table(comparison: Comparison) -> Table:
    measured = [f"{title} {part}" for title in _METRICS.values() for part in _PARTS]
    columns = ["setting", "rate", "rank", "total rank", *measured]
    rows: list[list[Any]] = [["as it came", None, None, None]]
    for name in _METRICS:
        rows[0] += [comparison.before[name], None]
    for name, runs in comparison.runs.items():
        over = _over_seeds(runs)
        row: list[Any] = [name, comparison.lr[name], comparison.rank[name], comparison.total_rank[name]]
        for metric in _METRICS:
            row += [over[metric], over.get(f"{metric}_sd")]
        rows.append(row)
    return Table(columns, rows, formats=dict.fromkeys(measured, ".4f") | {"rate": ".1e"})


def _loss_figure(comparison: Comparison) -> Figure:
    series = {
        name: ([row["step"] for row in runs[0].curves], [row["held_out_loss"] for row in runs[0].curves])
        for name, runs in comparison.runs.items()
    }
    return line_chart(series, "step", "loss", "Held-out loss")


def _first_updates(comparison: Comparison) -> dict[str, dict[str, Update]]:
    """Weight -> setting -> update of the first seed, weights in the order in which they first come."""
    weights: dict[str, dict[str, Update]] = {}
    for name, runs in comparison.runs.items():
        for update in runs[0].updates:
            weights.setdefault(update.name, {})[name] = update
    return weights


def _weight_table(comparison: Comparison, cell: Callable[[Update], Any], formats: Mapping[str, str]) -> Table:
    rows = [
        [weight, *(cell(updates[name]) if name in updates else None for name in comparison.runs)]
        for weight, updates in _first_updates(comparison).items()
    ]
    return Table(["weight", *comparison.runs], rows, formats=dict(formats))


def _spectra(comparison: Comparison) -> list[Figure]:
    figures = []
    for weight, updates in _first_updates(comparison).items():
        series = {name: spectrum_of(update) for name, update in updates.items() if update.norm > 0}
        if series:
            figures.append(line_chart(series, "position", "share of the largest", weight, log_y=True))
    return figures


def spectrum_of(update: Update) -> tuple[list[int], list[float]]:
    """Positions from 1 and singular values over the largest one, down to the numerical rank."""
    kept = update.singular_values[: max(1, update.numerical_rank)]
    return list(range(1, len(kept) + 1)), [value / kept[0] for value in kept]
