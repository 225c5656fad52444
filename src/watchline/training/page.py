"""The page and the curves of the train stage, from what a fit returns."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from watchline.models.base import STATISTIC_OF_METRIC
from watchline.report import Facts, Figure, Page, Table, Text
from watchline.report.charts import bar_chart, line_chart

MOST_BARS = 24  # token values a bar chart can name; beyond, a table scrolls
_KEY_FORMATS = {"MAE s": ".3f", "RMSE s": ".2f", "XAUC": ".4f"}

Curves = Sequence[Mapping[str, float]]


def train_page(
    name: str, metrics: Mapping[str, Any], curves: Curves, facts: Mapping[str, Any], params: Mapping[str, Any]
) -> Page:
    """Validation metrics, intervals, curves, vocabulary, the model's other facts and its parameters."""
    valid = metrics["valid"]
    lead = (
        f"{metrics['train']['rows']:,} training rows, {valid['rows']:,} validation rows. "
        "Each metric is of the statistic that fits it."
    )
    page = Page("train", f"Training of {name}", lead)
    page.key_figures({"MAE s": valid["mae_s"], "RMSE s": valid["rmse_s"], "XAUC": valid["xauc"]}, _KEY_FORMATS)
    rows = [[metric, statistic, valid[metric]] for metric, statistic in STATISTIC_OF_METRIC.items()]
    page.section("Validation", Table(["metric", "statistic", "value"], rows, formats={"value": ".4f"}))
    if "interval_80" in valid:
        page.section("Prediction intervals", *_interval_blocks(valid["interval_80"]), note=_INTERVAL_NOTE)
    page.section("Curves", *_curve_figures(curves))
    page.section("Model", Facts({key: value for key, value in facts.items() if not isinstance(value, Mapping)}))
    for key, value in facts.items():
        if key == "vocabulary":
            page.section("Vocabulary", *_vocabulary_blocks(value), note=_vocabulary_note(params))
        elif isinstance(value, Mapping):
            page.section(key.capitalize(), Facts(value))
    page.section("Parameters", Facts(params))
    return page


def write_curves(curves: Curves, path: Path) -> None:
    """One row per validation, `step` first and the validation MAE last, where `dvc plots` looks for them."""
    names = list(dict.fromkeys(name for row in curves for name in row))
    last = [name for name in names if name == "valid_mae_s"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["step", *(n for n in names if n not in ("step", *last)), *last])
        writer.writeheader()
        writer.writerows({name: f"{value:.10g}" for name, value in row.items()} for row in curves)


_INTERVAL_NOTE = (
    "From the 10 % to the 90 % quantile of each validation row, both ends included. Labels that are alike, such as "
    "zeros, are within together or not at all, so a calibrated model need not come to 80 % exactly. Sharing such atoms "
    "out by the probability integral transform, it does."
)


def _interval_blocks(interval: Mapping[str, float]) -> list[Facts | Table]:
    rows = [
        ["below the interval", interval["below"], 0.1],
        ["within", interval["coverage"], 0.8],
        ["above the interval", interval["above"], 0.1],
        ["within, atoms shared out", interval["coverage_pit"], 0.8],
    ]
    columns = ["validation labels", "share", "nominal"]
    formats = dict.fromkeys(columns[1:], ".1%")
    return [Facts({"mean width, s": interval["width_s"]}, {"mean width, s": ".2f"}), Table(columns, rows, "", formats)]


def _curve_figures(curves: Curves) -> list[Figure | Text]:
    names = [name for name in dict.fromkeys(name for row in curves for name in row) if name not in ("step", "epoch")]
    if not names:
        return [Text("This model has no curves.")]
    figures: list[Figure | Text] = []
    for name in names:
        rows = [row for row in curves if name in row]
        line = [row["step"] for row in rows], [row[name] for row in rows]
        figures.append(line_chart({name: line}, "step", name, name))
    return figures


def _vocabulary_blocks(vocabulary: Mapping[str, Any]) -> list[Facts | Figure | Table]:
    """What `codec.describe` found: key facts, sequence lengths, use of every token."""
    shares = vocabulary["share_of_labels_by_length"]
    lengths = bar_chart(list(range(len(shares))), shares, "share of labels", "Tokens in a label's sequence")
    return [_vocabulary_facts(vocabulary), lengths, _token_block(vocabulary["tokens_per_label"])]


def _vocabulary_note(params: Mapping[str, Any]) -> str:
    divisor = params.get("label_per")
    measure = f"labels divided by `{divisor}`" if divisor else "seconds"
    return f"Token values come from the training labels alone, and so do the figures here, in {measure}."


def _vocabulary_facts(vocabulary: Mapping[str, Any]) -> Facts:
    values = {
        "tokens": vocabulary["tokens"],
        "unit": vocabulary["unit_s"],
        "largest label": vocabulary["cap_s"],
        "labels clipped to it": vocabulary["labels_clipped"],
        "largest reconstruction error": round(vocabulary["reconstruction_error_max_s"], 9),  # below: floating point
        "mean sequence": vocabulary["length_mean"],
        "longest sequence here": vocabulary["length_max"],
        "longest sequence possible": vocabulary["length_limit"],
    }
    return Facts(values, {"largest label": ",.10g", "mean sequence": ".2f"})


def _token_block(tokens_per_label: Mapping[str, float]) -> Figure | Table:
    """How often each token value occurs in a label: bars, or a table when they are too many to name."""
    names = sorted(tokens_per_label, key=float)
    if len(names) <= MOST_BARS:
        counts = [tokens_per_label[name] for name in names]
        return bar_chart(names, counts, "tokens per label", "Use of each token, by its value")
    rows = [[float(name), tokens_per_label[name]] for name in names]
    formats = {"token": ",.12g", "tokens per label": ".4f"}
    return Table(["token", "tokens per label"], rows, "Use of each token", formats)
