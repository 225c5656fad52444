"""The index page: what ran, on which data and window, verdicts, models, lift, drift, and a link to every page.

Run by `dvc repro report`, or: python -m watchline.stages.report --reports reports --out reports/index.html
--summary reports/report/metrics.json
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from watchline.config import Config, load_section
from watchline.data.splits import Window
from watchline.report import Best, Callout, Facts, Link, Page, Table, Verdict, charts, read_json, write_json
from watchline.report.values import show
from watchline.stages import log, run_stage

SINGLE_STAGES = ("ingest", "validate", "features", "finetune", "evaluate", "abtest", "drift")
JUDGING_STAGES = {"validate": "Validation", "abtest": "A/B test", "drift": "Drift"}

TITLES = {
    "mae_s": "MAE s",
    "rmse_s": "RMSE s",
    "xauc": "XAUC",
    "xauc_all_pairs": "XAUC, all pairs",
    "gauc": "GAUC",
    "calibration": "calibration",
    "mae_near_zero_s": "MAE s, labels < 1 s",
    "bias_near_zero_s": "bias s, labels < 1 s",
}
# How far a value is from ideal; the smallest is the best.
DISTANCE: dict[str, Callable[[float], float]] = {
    **dict.fromkeys(("mae_s", "rmse_s", "mae_near_zero_s"), float),
    **dict.fromkeys(("xauc", "xauc_all_pairs", "gauc"), lambda value: -value),
    "calibration": lambda value: abs(math.log(value)) if value > 0 else math.inf,
    "bias_near_zero_s": abs,
}

Metrics = dict[str, Any]


class ReportConfig(Config):
    """Section `report` of params.yaml."""

    title: str = Field(min_length=1)
    metrics: list[str] = Field(min_length=1, description="columns of the model table, as in reports/evaluate")
    drifted_columns: int = Field(ge=0, le=100, description="strongest drifts shown")


def main(argv: list[str] | None = None) -> None:
    """Read every stage's metrics.json, write the index and its summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("reports", "out", "summary"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    paths = parser.parse_args(argv)
    config = load_section(ReportConfig, "report")
    window = load_section(Window, "window")
    models = load_section(list[str], "models")
    stages = read_stages(paths.reports)
    training = {name: read_json(paths.reports / "train" / name / "metrics.json") for name in models}
    write_json(paths.summary, summarise(stages))
    build_page(stages, training, config, window).write(paths.out)
    log(overall(stages).text)


def read_stages(reports: Path) -> dict[str, Metrics]:
    """metrics.json of every stage but train; raises ValueError naming a file that is missing or lacks its verdict."""
    keys = {stage: ["verdict"] for stage in JUDGING_STAGES} | {"evaluate": ["models"]}
    return {stage: read_json(reports / stage / "metrics.json", keys.get(stage, ())) for stage in SINGLE_STAGES}


def overall(stages: dict[str, Metrics]) -> Verdict:
    """The verdict of the run: the A/B test's, unless the data did not pass."""
    decisive = "validate" if stages["validate"]["verdict"]["status"] == "fail" else "abtest"
    return verdict_of(stages[decisive])


def verdict_of(metrics: Metrics) -> Verdict:
    """The verdict a stage wrote."""
    return Verdict(metrics["verdict"]["status"], metrics["verdict"]["text"])


def look_up(metrics: Metrics, path: str) -> Any:
    """The value at `path` (dots descend), or None where there is none."""
    value: Any = metrics
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def best_model(models: dict[str, Metrics], metric: str) -> str | None:
    """The model nearest to the ideal of `metric`; None where no model has the metric or it has no ideal."""
    known = {name: values[metric] for name, values in models.items() if values.get(metric) is not None}
    if not known or metric not in DISTANCE:
        return None
    return min(known, key=lambda name: (DISTANCE[metric](known[name]), name))


def summarise(stages: dict[str, Metrics]) -> dict[str, Any]:
    """The content of reports/report/metrics.json."""
    models = stages["evaluate"]["models"]
    return {
        "verdict": {"status": overall(stages).status, "text": overall(stages).text},
        "verdicts": {stage: stages[stage]["verdict"] for stage in JUDGING_STAGES},
        "best": {metric: best_model(models, metric) for metric in ("mae_s", "rmse_s", "xauc")},
        "lift": look_up(stages["abtest"], "lift"),
        "share_drifted": look_up(stages["drift"], "share_drifted"),
    }


# -- page -------------------------------------------------------------------------------------------------------------


def build_page(stages: dict[str, Metrics], training: dict[str, Metrics], config: ReportConfig, window: Window) -> Page:
    """The index."""
    page = Page("report", config.title, lead(stages, window), overall(stages))
    add_key_figures(page, stages)
    rows = [[Link(f"{stage}/index.html", title), verdict_of(stages[stage])] for stage, title in JUDGING_STAGES.items()]
    page.section("Verdicts", Table(["judged", "verdict"], rows))
    page.section("Models on the eval days", model_table(stages["evaluate"], config.metrics), *differences(stages))
    add_lift(page, stages["abtest"])
    add_drift(page, stages["drift"], config)
    page.section(
        "Training", training_table(training), note="On the validation days, which also stop the training.", half=True
    )
    page.section("What ran", Table(["stage", "rows", "outcome"], stage_rows(stages, training)), half=True)
    page.section("Data and window", Facts(data_facts(stages, window)), *quarantine(stages["validate"]))
    return page


def lead(stages: dict[str, Metrics], window: Window) -> str:
    """One sentence: which source, which days."""
    source = look_up(stages["ingest"], "source") or "unknown"
    return f"Source {source}, {len(window.days)} days from {window.start} to {window.end}."


def add_key_figures(page: Page, stages: dict[str, Metrics]) -> None:
    """Clean exposures, the best model's error, lift, drift."""
    models = stages["evaluate"]["models"]
    figures: dict[str, Any] = {"clean exposures": look_up(stages["validate"], "rows.exposures.clean")}
    for metric, name in (("mae_s", "best MAE, s"), ("xauc", "best XAUC")):
        best = best_model(models, metric)
        if best:
            figures[f"{name} ({best})"] = models[best][metric]
    figures["lift of watch time"] = look_up(stages["abtest"], "lift")
    figures["columns drifted"] = look_up(stages["drift"], "share_drifted")
    formats = {name: ".3f" if "MAE" in name else ".4f" for name in figures if name.startswith("best")}
    page.key_figures(figures, formats | {"lift of watch time": "+.2%", "columns drifted": ".0%"})


def model_table(evaluation: Metrics, metrics: Sequence[str]) -> Table:
    """Models against metrics, the best of each marked; the best constant below.

    Raises ValueError for a metric that no model has.
    """
    models = evaluation["models"]
    unknown = [metric for metric in metrics if not any(metric in values for values in models.values())]
    if unknown:
        known = sorted(
            {metric for values in models.values() for metric in values if metric not in ("rows", "interval_80")}
        )
        raise ValueError(f"report.metrics: no model has {', '.join(unknown)}; there are {', '.join(known)}")
    best = {metric: best_model(models, metric) for metric in metrics}
    rows: list[list[Any]] = [
        [name, *(Best(values[m]) if best[m] == name and len(models) > 1 else values.get(m) for m in metrics)]
        for name, values in models.items()
    ]
    if evaluation.get("best_constant"):
        rows.append(["best constant", *(evaluation["best_constant"].get(metric) for metric in metrics)])
    titles = [TITLES.get(metric, metric) for metric in metrics]
    formats = {title: ".4f" if "AUC" in title else ".3f" for title in titles}
    return Table(["model", *titles], rows, "Models on the eval days; the best of each column is marked", formats)


def differences(stages: dict[str, Metrics]) -> list[Any]:
    """MAE of each model minus the baseline's, with interval, as a chart; nothing where there is no baseline."""
    found = {
        name: values["mae_s"]
        for name, values in stages["evaluate"].get("differences", {}).items()
        if values.get("mae_s") and None not in values["mae_s"].values()
    }
    if not found:
        return []
    ends = [[values[key] for values in found.values()] for key in ("value", "low", "high")]
    label = f"MAE minus that of {stages['evaluate'].get('baseline', 'the baseline')}, s (left is better)"
    return [charts.interval_chart(list(found), *ends, x_label=label, title="Difference in MAE, 95 % interval")]


def add_lift(page: Page, abtest: Metrics) -> None:
    """Lift of the treatment with its interval, adjusted by CUPED, and the true lift where it is known."""
    marks = [
        (name, look_up(abtest, f"{path}lift"), *(look_up(abtest, f"{path}interval.{end}") for end in ("low", "high")))
        for name, path in (("lift", ""), ("with CUPED", "cuped."))
    ]
    for key, name in (("true_lift", "true lift"), ("expected_lift", "expected by the reward model")):
        marks.append((name, *[abtest.get(key)] * 3))
    marks = [mark for mark in marks if None not in mark[1:]]
    arms = {arm: look_up(abtest, f"arms.{arm}.model") or arm for arm in ("treatment", "control")}
    blocks: list[Any] = []
    if abtest.get("environment") != "oracle":
        blocks.append(Callout("warn", "The answers come from a reward model, not from users: a plausibility check."))
    if marks:
        columns = [[mark[0] for mark in marks], *([100 * mark[i] for mark in marks] for i in (1, 2, 3))]
        title = f"{arms['treatment']} against {arms['control']}"
        blocks.append(charts.interval_chart(*columns, x_label="lift of watch time per user, %", title=title))
    facts = {
        "environment": abtest.get("environment"),
        "p-value": abtest.get("p_value"),
        "sample ratio, p-value": abtest.get("srm_p"),
        "smallest lift found with 80 % power": look_up(abtest, "minimum_detectable_lift.plain"),
    }
    formats = {"p-value": ".4f", "sample ratio, p-value": ".4f", "smallest lift found with 80 % power": ".1%"}
    shown = {name: value for name, value in facts.items() if value is not None}
    page.section("Simulated lift", *blocks, Facts(shown, formats), half=True)


def add_drift(page: Page, drift: Metrics, config: ReportConfig) -> None:
    """The strongest drifts."""
    features = drift.get("columns", [])[1:]
    rows = [
        [
            column["name"],
            column["kind"],
            column["value"] / column["threshold"],
            Verdict("warn", "drifted") if column["drifted"] else Verdict("pass", "stable"),
        ]
        for column in features[: config.drifted_columns]
    ]
    table = Table(
        ["column", "kind", "× threshold", "verdict"],
        rows,
        f"Strongest of {len(features)} compared feature columns, eval days against training days",
        {"× threshold": ".2f"},
    )
    page.section("Drift", table, Link("drift/index.html", "all columns, target, predictions and residuals"), half=True)


def training_table(training: dict[str, Metrics]) -> Table:
    """A row per trained model."""
    rows = [
        [
            Link(f"train/{name}/index.html", name),
            *(look_up(metrics, f"valid.{metric}") for metric in ("mae_s", "rmse_s", "xauc")),
            look_up(metrics, "train.rows"),
            metrics.get("best_step"),
            metrics.get("parameters"),
        ]
        for name, metrics in training.items()
    ]
    columns = ["model", "MAE s", "RMSE s", "XAUC", "rows", "best step", "parameters"]
    return Table(columns, rows, formats={"MAE s": ".3f", "RMSE s": ".3f", "XAUC": ".4f"})


def stage_rows(stages: dict[str, Metrics], training: dict[str, Metrics]) -> list[list[Any]]:
    """Stage as a link to its page, rows, outcome in words; in the order they ran."""

    def row(stage: str, path: str, outcome: str) -> list[Any]:
        return [Link(f"{stage}/index.html", stage), look_up(stages[stage], path), outcome]

    def number(stage: str, path: str, spec: str) -> str:
        value = look_up(stages[stage], path)
        return show(value, spec).text

    trained = [
        [
            Link(f"train/{name}/index.html", f"train {name}"),
            look_up(metrics, "train.rows"),
            f"least validation MAE at step {metrics['best_step']:,}" if metrics.get("best_step") is not None else "",
        ]
        for name, metrics in training.items()
    ]
    mae = f"MAE {number('finetune', 'before.mae_s', '.3f')} s to {number('finetune', 'after.mae_s', '.3f')} s held out"
    models = stages["evaluate"]["models"]
    best = best_model(models, "mae_s")
    of_columns = number("drift", "compared_columns", ",")
    quarantined = f"{number('validate', 'rows.exposures.quarantined', ',')} exposures in quarantine"
    return [
        row("ingest", "rows.exposures", f"{number('ingest', 'rows.unparsable', ',')} lines not parsable"),
        row("validate", "rows.exposures.clean", quarantined),
        row("features", "rows", _feature_outcome(stages["features"])),
        *trained,
        row("finetune", "rows.train", mae),
        [
            Link("evaluate/index.html", "evaluate"),
            next((values.get("rows") for values in models.values()), None),
            f"least MAE: {best}" if best else "",
        ],
        row("abtest", "asked.requests", f"lift {number('abtest', 'lift', '+.2%')}"),
        row("drift", "num_rows", f"{number('drift', 'drifted_columns', ',')} of {of_columns} columns drifted"),
    ]


def _feature_outcome(features: Metrics) -> str:
    counts = features.get("features")
    return " and ".join(f"{count} {kind}" for kind, count in counts.items()) + " columns" if counts else ""


def data_facts(stages: dict[str, Metrics], window: Window) -> dict[str, Any]:
    """Source, days and rows, and which days or rows each split has."""
    ingest = stages["ingest"]
    facts = {
        "source": ingest.get("source"),
        "days of the source": " to ".join(str(ingest[key]) for key in ("first_day", "last_day") if ingest.get(key)),
        **{f"{split} {'days' if window.rows is None else 'rows'}": text for split, text in window.described.items()},
        "exposures": look_up(ingest, "rows.exposures"),
        "users": look_up(ingest, "rows.users"),
        "videos": look_up(ingest, "rows.videos"),
        "mean watch time, s": look_up(ingest, "watch_time.mean_s"),
    }
    return {name: value for name, value in facts.items() if value is not None}


def quarantine(validation: Metrics) -> list[Any]:
    """Rows in quarantine by table and rule; rules that no row breaks are left out."""
    rows = [
        [rule, table, count]
        for table, counts in validation.get("quarantine", {}).items()
        for rule, count in counts.items()
        if count
    ]
    caption = "Rows in quarantine; a row that breaks several rules counts for each"
    return [Table(["rule", "table", "rows"], rows, caption)]


if __name__ == "__main__":
    run_stage(main)
