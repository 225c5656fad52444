"""The page of the drift stage."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from watchline.data.splits import Window
from watchline.drift.compare import MISSING, ColumnDrift, DriftConfig
from watchline.drift.findings import Findings
from watchline.drift.windows_page import add_errors, add_trend, add_windows, badge
from watchline.report import charts
from watchline.report.blocks import Best, Callout, Facts, Figure, Link, Table, Text, Verdict
from watchline.report.page import Page

NUM_BINS = 24
NUM_CATEGORIES = 8
BETTER = {"mae_s": min, "rmse_s": min, "xauc": max}
TITLES = {"mae_s": "MAE s", "rmse_s": "RMSE s", "xauc": "XAUC"}
FORMATS = {"MAE s": ".3f", "RMSE s": ".3f", "XAUC": ".4f", "lift": "+.2%", "low": "+.2%", "high": "+.2%"}
ENVIRONMENTS = {
    "oracle": "the oracle (the generator's own law)",
    "matrix": "the recorded plays of a fully observed log",
    "model": "a reward model, not users",
    "replay": "a replay of random rows, which has arms and no sweep",
}


def build_page(
    findings: Findings, samples: dict[str, pl.DataFrame], online: dict[str, Any], config: DriftConfig, window: Window
) -> Page:
    """Verdict, offline beside online, features, distributions, target, predictions, ids, methods."""
    distance = f"{findings.label.capitalize()}, distance"
    lead = f"Eval rows ({window.described['eval']}) against training rows ({window.described['train']})."
    page = Page("drift", "Drift", lead, Verdict(*findings.judge(config)))
    page.key_figures(
        {
            "Columns drifted": findings.share_drifted,
            distance: findings.target.value,
            **{f"Unseen {name}": share for name, share in list(findings.unseen.items())[:3]},
        },
        {"Columns drifted": ".0%", distance: ".3f"} | {f"Unseen {name}": ".1%" for name in findings.unseen},
    )
    add_quality(page, findings, online)
    page.section(
        "Feature columns",
        feature_table(findings.features),
        Link("evidently.html", "Evidently's own page of the same comparison"),
        note="Strongest drift first, as a multiple of its threshold. Missing: share of rows without a value.",
    )
    worst = findings.features[: config.worst_columns]
    if worst:
        page.section(
            "Distributions of the columns that moved most",
            *(distribution(drift, samples) for drift in worst),
            note="Training rows against eval rows, of those compared.",
        )
    add_target(page, findings)
    add_windows(page, findings.windows)
    add_trend(page, findings)
    add_errors(page, findings)
    add_ids(page, findings)
    page.section("How it was measured", Text(METHOD.format(max_rows=config.max_rows)), method_facts(findings, config))
    return page


METHOD = (
    "Distances, not p-values: a p-value falls with the number of rows, so on a large log every column would drift. "
    "`wasserstein`: the earth mover's distance between two samples of numbers, in standard deviations of the training "
    "days. `jensenshannon`: the square root of the Jensen-Shannon divergence in nats, 0 for equal shares and 0.83 for "
    "nothing in common. `psi`: population stability index. `hellinger`: 0 to 1. A missing category is a category; "
    "missing numbers are left out. At most {max_rows:,} rows of each side are compared, evenly spaced in time order."
)


def add_quality(page: Page, findings: Findings, online: dict[str, Any]) -> None:
    """The trained models' offline metrics beside their simulated lifts, and what the sweep says of them."""
    best = {}
    for key, choose in BETTER.items():
        known = {values[key] for values in findings.quality.values() if values[key] is not None}
        best[key] = choose(known) if len(known) > 1 else None
    rows = [
        [
            name,
            *(_marked(values[key], best[key]) for key in BETTER),
            values["arm"] or "not in the test",
            *(values[key] for key in ("lift", "low", "high")),
        ]
        for name, values in findings.quality.items()
    ]
    columns = ["model", *TITLES.values(), "arm", "lift", "low", "high"]
    environment = online.get("environment", "unknown")
    page.section(
        "Offline metrics beside the simulated lift",
        Table(columns, rows, "Eval days; lift of expected watch time over the control, 95 % interval", FORMATS),
        *(Text(missed["text"]) for missed in online.get("sweep", {}).get("missed", [])),
        Link("../abtest/index.html", "The sweep over trained and damaged models that this is taken from"),
        note=f"The lift comes from {ENVIRONMENTS.get(environment, environment)}. The sentences are of all models of "
        "the sweep, the damaged ones too.",
    )


def _marked(value: float | None, best: float | None) -> Any:
    return Best(value) if value is not None and value == best else value


def feature_table(features: list[ColumnDrift]) -> Table:
    """A row per compared column."""
    rows = [
        [
            drift.name,
            drift.kind,
            drift.method,
            drift.value,
            drift.threshold,
            drift.strength,
            badge(drift),
            drift.missing_reference,
            drift.missing_current,
        ]
        for drift in features
    ]
    columns = ["column", "kind", "method", "distance", "threshold", "× threshold", "verdict"]
    columns += ["missing train", "missing eval"]
    formats = {"distance": ".4f", "× threshold": ".2f", columns[-2]: ".1%", columns[-1]: ".1%"}
    return Table(columns, rows, "Feature columns, eval rows against training rows", formats)


def distribution(drift: ColumnDrift, samples: dict[str, pl.DataFrame]) -> Figure:
    """Both distributions of one column: outlines over common bins, or bars of the most frequent categories."""
    train, evaluated = samples["train"][drift.name], samples["eval"][drift.name]
    names = ["training rows", "eval rows"]
    if drift.kind == "categorical":
        shares = [_shares(side) for side in (train, evaluated)]
        order = sorted(shares[0] | shares[1], key=lambda name: (-max(side.get(name, 0) for side in shares), name))
        top = order[:NUM_CATEGORIES]
        values = {name: [side.get(category, 0.0) for category in top] for name, side in zip(names, shares)}
        return charts.bar_chart(top, values, "share of rows", drift.name)
    sides = [side.drop_nulls().cast(pl.Float64).to_numpy() for side in (train, evaluated)]
    edges, log_x = _edges(np.concatenate(sides))
    clipped = [np.clip(side, edges[0], edges[-1]) for side in sides]
    series = {name: (edges, np.histogram(side, edges)[0]) for name, side in zip(names, clipped)}
    return charts.histogram_chart(series, drift.name, drift.name, log_x=log_x)


def _shares(values: pl.Series) -> dict[str, float]:
    counts = values.cast(pl.String).fill_null(MISSING).value_counts(sort=False)
    return {name: count / len(values) for name, count in counts.iter_rows()}


def _edges(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Bins over the middle 99 % (the rest falls into the outer ones); logarithmic for long positive tails."""
    low, middle, high = np.quantile(values, [0.005, 0.5, 0.995])
    if low == high:
        return np.linspace(low - 0.5, low + 0.5, NUM_BINS + 1), False
    if low > 0 and high > 20 * middle:
        return np.geomspace(low, high, NUM_BINS + 1), True
    return np.linspace(low, high, NUM_BINS + 1), False


def add_target(page: Page, findings: Findings) -> None:
    """Drift of the target and its course by day."""
    days = [day["date"] for day in findings.days]
    title = f"{findings.label.capitalize()} by day"
    chart = charts.line_chart(
        {
            "mean": (days, [d["mean_s"] for d in findings.days]),
            "median": (days, [d["median_s"] for d in findings.days]),
        },
        "day",
        f"{findings.label}, s",
        title,
    )
    columns = ["day", "split", "rows", "mean s", "median s", "zeros"]
    rows = [[d[key] for key in ("date", "split", "rows", "mean_s", "median_s", "zero_share")] for d in findings.days]
    table = Table(columns, rows, title, {"mean s": ".3f", "median s": ".3f", "zeros": ".1%"})
    target = findings.target
    sentence = (
        f"Distance of {findings.label} between training rows and eval rows: {target.value:.4f} by `{target.method}`, "
        f"threshold {target.threshold:g}."
    )
    page.section("Target", Callout("warn" if target.drifted else "pass", sentence), chart, table)


def add_ids(page: Page, findings: Findings) -> None:
    """Columns that a distance would say nothing about, and columns left out."""
    rows = [[name, share] for name, share in findings.unseen.items()]
    table = Table(
        ["column", "unseen"],
        rows,
        "Share of eval rows whose value never occurs in training rows",
        {"unseen": ".1%"},
    )
    left = Table(["column", "reason"], [list(item) for item in findings.plan.left_out.items()], "Columns not compared")
    note = (
        "Ids turn over by nature: the distance between their shares is always large. What counts is how many are new."
    )
    page.section("Ids and columns not compared", table, left, note=note)


def method_facts(findings: Findings, config: DriftConfig) -> Facts:
    """Methods and thresholds as configured, rows compared."""
    facts: dict[str, Any] = {
        kind: f"{test.method}, threshold {test.threshold:g}"
        for kind, test in (
            ("numeric columns", config.numeric),
            ("categorical columns", config.categorical),
            ("target", config.target),
            ("predictions, residuals", config.prediction),
        )
    }
    facts |= {f"{split} rows": f"{used:,} compared of {rows:,}" for split, (rows, used) in findings.rows.items()}
    facts["warning from"] = f"{config.warn_share:.0%} of columns drifted"
    facts["failure from"] = f"{config.fail_share:.0%} of columns drifted"
    facts["id from"] = f"{config.max_categories} distinct values"
    return Facts(facts)
