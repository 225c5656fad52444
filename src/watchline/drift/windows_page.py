"""Sections of the drift page: drift between windows, its course by day, and errors where inputs are unusual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from watchline.drift.compare import ColumnDrift
from watchline.drift.findings import Findings
from watchline.drift.windows import PAIRS, WindowDrift
from watchline.report import by_day, charts
from watchline.report.blocks import Figure, Table, Text, Verdict
from watchline.report.page import Page

NAMES = {"train": "training", "finetune": "finetune", "eval": "eval"}

WINDOWS_NOTE = (
    "× threshold of the distance from the first days to the second: 1 and above is drift. Residual: mean prediction "
    "minus label. A model was fitted to its training rows (and the fine-tuned one to the finetune days), so residuals "
    "from there on hold what it fitted too closely besides drift; from finetune to eval days they do not, for a model "
    "that was not fine-tuned."
)
TREND_NOTE = (
    "Distance of each day from the training days, as a multiple of the threshold. The training days' own points show "
    "how much a single day differs from all of them by chance and calendar. Columns: those that moved most."
)
ERRORS_NOTE = (
    "Eval rows in ten parts by how unusual their inputs are beside the training rows: the mean over columns of -log p, "
    "with p the share of a category, or of values as far out as this one. Relative MAE: over that of the median label "
    "of all rows, so that parts with longer plays are not worse for that alone. The fine-tuned model was fitted to the "
    "finetune days."
)


def badge(drift: ColumnDrift) -> Verdict:
    """Drifted or stable, as a badge."""
    return Verdict("warn", "drifted") if drift.drifted else Verdict("pass", "stable")


def add_windows(page: Page, windows: Sequence[WindowDrift]) -> None:
    """Target, predictions and residuals, then the features, with a column for each two windows."""
    pairs = [pair for pair in PAIRS if any((each.reference, each.current) == pair for each in windows)]
    models = [each for each in windows if each.of != "features"]
    features = [each for each in windows if each.of == "features"]
    page.section(
        "Drift between windows",
        _table(models, pairs, "Target, predictions and residuals"),
        _table(features, pairs, "Feature columns"),
        note=WINDOWS_NOTE,
    )


def _table(windows: Sequence[WindowDrift], pairs: Sequence[tuple[str, str]], caption: str) -> Table:
    """A row per thing compared, strongest drift first."""
    found: dict[tuple[str, str], dict[tuple[str, str], ColumnDrift]] = {}
    for each in windows:
        found.setdefault((each.of, each.drift.name), {})[each.reference, each.current] = each.drift
    ordered = sorted(found.items(), key=lambda item: (-max(drift.strength for drift in item[1].values()), item[0]))
    titles = [f"{NAMES[reference]} to {NAMES[current]}" for reference, current in pairs]
    rows = []
    for (of, name), drifts in ordered:
        any_drift = next(iter(drifts.values()))
        strengths = [drifts[pair].strength if pair in drifts else None for pair in pairs]
        worst = max(drifts.values(), key=lambda drift: drift.strength)
        label = name if of in ("features", "target") else f"{of}: {name}"
        rows.append([label, any_drift.method, any_drift.threshold, *strengths, badge(worst)])
    return Table(["what", "method", "threshold", *titles, "verdict"], rows, caption, dict.fromkeys(titles, ".2f"))


def add_trend(page: Page, findings: Findings) -> None:
    """Distances by day, of columns and of predictions and residuals, as lines and as tables."""
    figures = [_lines([(row["column"], row) for row in findings.columns_by_day], findings, "Columns and target by day")]
    for value in ("mean", "residual"):
        rows = [(row["model"], row) for row in findings.predictions_by_day if row["column"] == value]
        figures += (
            [_lines(rows, findings, f"{'Predicted mean' if value == 'mean' else 'Residual'} by day")] if rows else []
        )
    tables = [
        _by_day([(row["column"], row) for row in findings.columns_by_day], findings, "Columns and target, × threshold"),
        _by_day(
            [(f"{row['model']}: {row['column']}", row) for row in findings.predictions_by_day],
            findings,
            "Predictions and residuals, × threshold",
        ),
    ]
    page.section("Trend by day", *figures, *tables, note=TREND_NOTE)


def _lines(rows: Sequence[tuple[str, dict[str, Any]]], findings: Findings, title: str) -> Figure:
    """A line per thing over the days, with the splits and the threshold marked."""
    names, days, found = _grid(rows)
    split = {day["date"]: day["split"] for day in findings.days}
    values = {name: [found.get((day, name)) for day in days] for name in names}
    return by_day.trend_chart(days, values, "× threshold", title, [split.get(day) or "" for day in days], limit=1.0)


def _by_day(rows: Sequence[tuple[str, dict[str, Any]]], findings: Findings, caption: str) -> Table:
    """A row per day, a column per thing."""
    names, days, found = _grid(rows)
    split = {day["date"]: day["split"] for day in findings.days}
    cells = [[day, split.get(day), *(found.get((day, name)) for name in names)] for day in days]
    return Table(["day", "split", *names], cells, caption, dict.fromkeys(names, ".2f"))


def _grid(
    rows: Sequence[tuple[str, dict[str, Any]]],
) -> tuple[list[str], list[str], dict[tuple[str, str], float]]:
    """Names, days, and the multiple of its threshold by day and name."""
    found = {(row["date"], name): row["value"] / row["threshold"] for name, row in rows}
    names = list(dict.fromkeys(name for name, _ in rows))
    return names, list(dict.fromkeys(row["date"] for _, row in rows)), found


def add_errors(page: Page, findings: Findings) -> None:
    """Errors by day beside the drift of that day's inputs, and by how unusual a row's inputs are."""
    parts = findings.errors_by_decile
    models = [each["model"] for each in parts[0]["models"]]
    relative = {
        model: ([part["part"] for part in parts], [part["models"][number]["relative"] for part in parts])
        for number, model in enumerate(models)
    }
    columns = [
        "part",
        "rows",
        "unusualness",
        "mean label s",
        *(f"{m} MAE s" for m in models),
        *(f"{m} relative" for m in models),
    ]
    rows = [
        [
            part["part"], part["rows"], part["unusualness"], part["mean_s"],
            *(each[key] for key in ("mae_s", "relative") for each in part["models"]),
        ]
        for part in parts
    ]  # fmt: skip
    formats = dict.fromkeys(columns[2:], ".3f")
    figures = []
    if any(value is not None for _, values in relative.values() for value in values):
        figures.append(
            charts.line_chart(relative, "part, by rising unusualness", "relative MAE", "Error by unusualness")
        )
    page.section(
        "Errors and the drift of inputs",
        Text(unusual_sentence(parts)),
        *figures,
        Table(columns, rows, "Errors by how unusual the inputs are", formats),
        errors_by_day(findings),
        note=ERRORS_NOTE,
    )


def unusual_sentence(parts: Sequence[dict[str, Any]]) -> str:
    """How much worse each model is on the most unusual tenth of the rows than on the most usual one."""
    first, last = parts[0]["models"], parts[-1]["models"]
    said = [
        f"`{a['model']}` {b['relative'] / a['relative'] - 1:+.0%}"
        for a, b in zip(first, last, strict=True)
        if a["relative"] and b["relative"]
    ]
    if not said:
        return "The relative error has no value here: all labels are equal."
    return f"Relative MAE on the most unusual part of the rows, over that of the most usual: {', '.join(said)}."


def errors_by_day(findings: Findings) -> Table:
    """Each finetune and eval day's mean drift of the followed columns beside the errors of each model."""
    label = findings.target.name
    drift: dict[str, list[float]] = {}
    for row in findings.columns_by_day:
        if row["column"] != label:
            drift.setdefault(row["date"], []).append(row["value"] / row["threshold"])
    rows = [
        [model, day["date"], day["split"], day["rows"], *_mean(drift.get(day["date"], [])), day["mae_s"], day["bias_s"]]
        for model, days in findings.residuals.items()
        for day in days
    ]
    columns = ["model", "day", "split", "rows", "mean × threshold of inputs", "MAE s", "bias s"]
    formats = {columns[4]: ".2f", "MAE s": ".3f", "bias s": "+.3f"}
    caption = "Errors by day beside the drift of the columns that moved most: MAE of the median, bias of the mean"
    return Table(columns, rows, caption, formats)


def _mean(values: Sequence[float]) -> list[float | None]:
    return [sum(values) / len(values) if values else None]
