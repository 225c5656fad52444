"""The page of the evaluation, from plain numbers: leaderboard, differences, calibration, intervals, slices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from watchline.metrics import LEAST_USERS
from watchline.models.base import INTERVAL_MASS
from watchline.report import charts
from watchline.report.blocks import Best, Facts, Figure, Table, Text
from watchline.report.metric_words import DISTANCE, TITLE
from watchline.report.page import Page

MAIN = ("mae_s", "rmse_s", "xauc", "gauc", "calibration")
FURTHER = ("xauc_all_pairs", "mae_near_zero_s", "bias_near_zero_s")

DEFINITIONS = (
    "XAUC: share of the pairs of exposures with different watch times that the score orders correctly, ties 1/2. "
    "XAUC, all pairs: pairs with equal watch times count 0 and stay in the denominator. GAUC: XAUC within each user, "
    "weighted by pairs. Calibration: mean prediction / mean watch time. Best constant: the single number that is best "
    "on these very rows, so no constant known beforehand does better. Intervals: paired bootstrap by user, 95 %."
)

FEW_USERS = f"No interval: fewer than {LEAST_USERS} users to measure the difference of, too few to tell of others."


def build_page(result: Mapping[str, Any], details: Mapping[str, Any]) -> Page:
    """The page; `result` is the content of metrics.json, `details` what `measure.detail` gives."""
    window = result["window"]
    rows = next(iter(result["models"].values()))["rows"]
    lead = f"{rows:,} exposures of {result['users']:,} users, {window['eval']}."
    page = Page("evaluate", "Offline evaluation", lead)
    note = "Each column names the statistic that the models were asked for."
    page.section("Models", *(_leaderboard(result, metrics) for metrics in (MAIN, FURTHER)), note=note)
    if result.get("differences"):
        _add_differences(page, result)
    note = "The statistic must match the metric: the median minimises MAE, the mean RMSE; XAUC looks at order alone."
    page.section("Every statistic of every model", _statistics_table(details["by_statistic"]), note=note)
    _add_calibration(page, details["deciles"])
    _add_intervals(page, result["models"])
    for part in result["slices"]:
        page.section(part["title"], _slice_table(part["rows"]), note=part["note"])
    page.section("Definitions", Text(DEFINITIONS), Facts({"bootstrap replicates": details["replicates"]}))
    return page


def _leaderboard(result: Mapping[str, Any], metrics: Sequence[str]) -> Table:
    """Models against metrics, the best of each column marked, with the best constant last where it has a value."""
    statistics = result["statistics"]
    headers = {key: f"{TITLE[key]} ({_words(statistics[key])})" for key in metrics}
    rows: list[list[Any]] = [[name, *(values[key] for key in metrics)] for name, values in result["models"].items()]
    for column, key in enumerate(metrics, start=1):
        _mark_best(rows, column, DISTANCE[key])
    constant = result["best_constant"]
    if any(key in constant for key in metrics):
        rows.append(["best constant", *(constant.get(key) for key in metrics)])
    return Table(["model", *headers.values()], rows, formats={headers[key]: _format(key) for key in metrics})


def _mark_best(rows: list[list[Any]], column: int, distance: Callable[[float], float]) -> None:
    known = [row for row in rows if row[column] is not None]
    if len(known) > 1:
        best = min(known, key=lambda row: distance(row[column]))
        best[column] = Best(best[column])


def _add_differences(page: Page, result: Mapping[str, Any]) -> None:
    """A table of all differences, and one chart each for MAE and XAUC."""
    differences, baseline = result["differences"], result["baseline"]
    rows = [
        [name, TITLE[metric], _words(result["statistics"][metric]), *(found[end] for end in ("value", "low", "high"))]
        for name, by_metric in differences.items()
        for metric, found in by_metric.items()
    ]
    columns = ["model", "metric", "statistic", "difference", "low", "high"]
    table = Table(columns, rows, formats=dict.fromkeys(columns[3:], "+.4f"))
    figures = []
    for metric in ("mae_s", "xauc"):
        found = {name: by_metric[metric] for name, by_metric in differences.items()}
        values, lows, highs = ([interval[end] for interval in found.values()] for end in ("value", "low", "high"))
        if None not in [*values, *lows, *highs]:
            label = f"{TITLE[metric]}, model minus {baseline}"
            figures.append(charts.interval_chart(list(found), values, lows, highs, label, TITLE[metric]))
    note = f"Model minus {baseline} on the same rows, 95 % interval of the paired bootstrap by user."
    if any(row[-1] is None for row in rows):
        note += f" {FEW_USERS}"
    page.section(f"Differences from {baseline}", table, *figures, note=note)


def _statistics_table(by_statistic: Sequence[Mapping[str, Any]]) -> Table:
    metrics = [key for key in TITLE if key in by_statistic[0]]
    rows = [[row["model"], _words(row["statistic"]), *(row[key] for key in metrics)] for row in by_statistic]
    columns = ["model", "statistic", *(TITLE[key] for key in metrics)]
    return Table(columns, rows, formats={TITLE[key]: _format(key) for key in metrics})


def _add_calibration(page: Page, deciles: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Mean label against mean prediction by decile of the prediction, as a chart and a table."""
    series = {
        name: ([part["mean_prediction_s"] for part in parts], [part["mean_label_s"] for part in parts])
        for name, parts in deciles.items()
    }
    reach = [x for xs, _ in series.values() for x in xs]
    series["calibrated"] = ([min(reach), max(reach)], [min(reach), max(reach)])
    figure = charts.line_chart(series, "mean prediction, s", "mean watch time, s", "Calibration by decile")
    columns = [f"{name} {what}" for name in deciles for what in ("predicted s", "watched s")]
    first = next(iter(deciles.values()))
    rows = [
        [
            part["bin"],
            part["rows"],
            *(parts[i][key] for parts in deciles.values() for key in ("mean_prediction_s", "mean_label_s")),
        ]
        for i, part in enumerate(first)
    ]
    table = Table(["decile", "rows", *columns], rows, formats=dict.fromkeys(columns, ".2f"))
    page.section(
        "Calibration", figure, table, note="Rows by the rising mean that each model predicts, ten parts of equal size."
    )


_INTERVAL_NOTE = (
    "From the 10 % to the 90 % quantile of each row, both ends included; nominal: 10 % of the watch times below, 80 % "
    "within, 10 % above. Watch times that are alike, such as zeros, are within together or not at all, so a calibrated "
    "model need not come to 80 % exactly. Sharing such atoms out by the probability integral transform, it does."
)


def _add_intervals(page: Page, models: Mapping[str, Mapping[str, Any]]) -> None:
    """Coverage and width of 80 % intervals, overall and by video duration; nothing where no model gives quantiles."""
    found = {name: values["interval_80"] for name, values in models.items() if "interval_80" in values}
    if not found:
        return
    keys = ("coverage", "below", "above", "coverage_pit", "width_s")
    rows = [[name, *(interval[key] for key in keys)] for name, interval in found.items()]
    columns = ["model", "within", "below", "above", "within, atoms shared out", "mean width s"]
    overall = Table(columns, rows, formats=dict.fromkeys(columns[1:5], ".1%") | {"mean width s": ".2f"})
    page.section("Prediction intervals", overall, _coverage_figure(found), _interval_table(found), note=_INTERVAL_NOTE)


def _coverage_figure(found: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Share within by video duration, a line per model beside the nominal one."""
    series: dict[str, tuple[list[str], list[float]]] = {}
    for name, interval in found.items():
        parts = interval["by_duration"]
        series[name] = [part["bucket"] for part in parts], [part["coverage"] for part in parts]
    buckets, _ = next(iter(series.values()))
    series["nominal"] = buckets, [INTERVAL_MASS] * len(buckets)
    return charts.line_chart(series, "video duration", "share within", "Coverage by video duration")


def _interval_table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    """By video duration: rows, and share within and mean width of each model."""
    words = {"coverage": "within", "width_s": "mean width s"}
    headers = {f"{name} {words[key]}": key for key in words for name in found}
    rows = [
        [parts[0]["bucket"], parts[0]["rows"], *(part[key] for key in words for part in parts)]
        for parts in zip(*(interval["by_duration"] for interval in found.values()))
    ]
    formats = {header: ".1%" if key == "coverage" else ".2f" for header, key in headers.items()}
    return Table(["video duration", "rows", *headers], rows, formats=formats)


def _slice_table(buckets: Sequence[Mapping[str, Any]]) -> Table:
    """Rows and mean watch time of each bucket, and MAE and XAUC of each model there."""
    pairs = [(metric, model) for metric in ("mae_s", "xauc") for model in buckets[0]["mae_s"]]
    headers = [f"{TITLE[metric]} {model}" for metric, model in pairs]
    rows = [
        [part["bucket"], part["rows"], part["mean_label_s"], *(part[metric][model] for metric, model in pairs)]
        for part in buckets
    ]
    formats = {"mean watch time s": ".2f"} | {
        header: _format(metric) for header, (metric, _) in zip(headers, pairs, strict=True)
    }
    return Table(["slice", "rows", "mean watch time s", *headers], rows, formats=formats)


def _format(metric: str) -> str:
    return ".4f" if "auc" in metric else ".3f"


def _words(name: str) -> str:
    return name.replace("_", " ")
