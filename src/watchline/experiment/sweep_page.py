"""The section of the A/B page that sets offline metrics against simulated lifts, from metrics.json's `sweep`."""

from __future__ import annotations

from typing import Any

from watchline.experiment.offline_online import METRICS, TITLES
from watchline.report.blocks import Figure, Table, Text
from watchline.report.page import Page
from watchline.report.scatter import Point, scatter_chart

UNITS = {"mae_s": "MAE s", "rmse_s": "RMSE s", "calibration": "calibration", "xauc": "XAUC", "gauc": "GAUC"}
FORMATS = {"MAE s": ".3f", "RMSE s": ".3f", "calibration": ".3f", "XAUC": ".4f", "GAUC": ".4f"}
SKEWED = ("mae_s", "rmse_s", "calibration")  # damaged models lie decades apart
LIFTS = {"lift": "+.2%", "low": "+.2%", "high": "+.2%"}

NOTE = (
    "Every model ranks the same candidates of the same sessions by its {statistic}; its lift is that of the expected "
    "watch time of all sessions over {control}'s, which needs no split of users. Damaged models are {control} with one "
    "property spoiled on purpose. MAE is of the median, RMSE and calibration (mean prediction / mean label) of the "
    "mean, XAUC and GAUC (XAUC within users) of what is ranked by. 95 % intervals, {replicates} draws of the eval "
    "days' users with their rows and their sessions."
)

CORRELATION_NOTE = (
    "1: the metric orders the models as their lifts do, calibration c by |log c|. The interval is of the users "
    "drawn; the models are fixed, and another choice of models gives another correlation. Reversed: pairs that both "
    "tell apart (interval of the difference without 0) in opposite orders. Blind: pairs that only the metric tells "
    "apart."
)


def add_sweep(page: Page, sweep: dict[str, Any]) -> None:
    """Two sections: the models with a chart per metric, and what each metric missed."""
    page.section("Offline against online", sweep_table(sweep), *sweep_charts(sweep), note=NOTE.format(**sweep))
    sentences = [Text(found["text"]) for found in sweep["missed"]]
    page.section("What the offline metrics missed", correlation_table(sweep), *sentences, note=CORRELATION_NOTE)


def sweep_table(sweep: dict[str, Any]) -> Table:
    """A row per model, the highest lift first."""
    models = sorted(sweep["models"], key=lambda model: (-(model["lift"] or 0.0), model["model"]))
    rows = [
        [model["model"], model["what"], *(model[key] for key in METRICS), *(model[key] for key in LIFTS)]
        for model in models
    ]
    return Table(["model", "what it is", *UNITS.values(), *LIFTS], rows, "Models of the sweep", {**FORMATS, **LIFTS})


def sweep_charts(sweep: dict[str, Any]) -> list[Figure]:
    """Lift over each metric that all models have."""
    charts = []
    for metric in METRICS:
        points = {
            model["model"]: Point(model[metric], *(100 * model[key] for key in ("lift", "low", "high")))
            for model in sweep["models"]
            if None not in (model[metric], *(model[key] for key in LIFTS))
        }
        if points:
            title = f"Lift against {TITLES[metric]}"
            charts.append(scatter_chart(points, UNITS[metric], "lift over the control, %", title, metric in SKEWED))
    return charts


def correlation_table(sweep: dict[str, Any]) -> Table:
    """Rank correlations and counts of pairs, a row per metric."""
    rows = [
        [
            TITLES[found["metric"]],
            *(found[f"{name}{end}"] for name in ("spearman", "kendall") for end in ("", "_low", "_high")),
            *(missed[count] for count in ("told_apart", "reversed", "blind")),
        ]
        for found, missed in zip(sweep["rank_correlation"], sweep["missed"], strict=True)
    ]
    columns = ["metric", "Spearman", "rho low", "rho high", "Kendall", "tau low", "tau high"]
    formats = dict.fromkeys(columns[1:], "+.2f")
    columns += ["pairs told apart", "reversed", "blind"]
    return Table(columns, rows, "Rank correlation of a metric with the lift", formats)
