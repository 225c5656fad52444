"""The index: the run's verdict and why, then data, features, training, fine-tune, leaderboard, A/B test and drift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from watchline.data.splits import Window
from watchline.overview.config import ReportConfig
from watchline.overview.reading import Metrics, Run, best_model, look_up, number_format
from watchline.overview.verdict import CAUTIONS, overall, reasons
from watchline.report import Best, Callout, Facts, Link, Page, Table, Verdict, charts
from watchline.report.metric_words import TITLE
from watchline.report.values import show

CARDS = "report/cards"
POWER = "smallest lift found with 80 % power, by the test's days"


def build_page(run: Run, config: ReportConfig, window: Window) -> Page:
    """The index, from metrics.json of the stages alone."""
    stages = run.stages
    page = Page("report", config.title, lead(stages, window), overall(stages))
    add_key_figures(page, stages)
    page.section("Why", reasons(stages))
    add_data(page, stages, window)
    add_features(page, stages["features"])
    note = "On the validation days, which also stop the training. A name leads to the model's card."
    page.section("Training", training_table(run.training), note=note)
    add_finetune(page, stages["finetune"])
    blocks = [model_table(stages["evaluate"], config.metrics), *differences(stages["evaluate"])]
    page.section("Leaderboard", *blocks, Link("evaluate/index.html", "all metrics, calibration, slices"), note=_BOARD)
    add_lift(page, stages["abtest"])
    add_drift(page, stages["drift"], config)
    return page


_BOARD = (
    "The models of this run on the eval days, one fit of each. `make leaderboard` fits methods over several seeds, on "
    "data you name: its page is `reports/leaderboard/index.html`, and `make reports` lists it in "
    "`reports/run/index.html` beside the commit and the hashes of this run."
)


def lead(stages: dict[str, Metrics], window: Window) -> str:
    """One sentence: which source, which days."""
    source = look_up(stages["ingest"], "source") or "unknown"
    return f"Source {source}, {len(window.days)} days from {window.start} to {window.end}."


def add_key_figures(page: Page, stages: dict[str, Metrics]) -> None:
    """Lift, the best model's error, clean exposures, drift."""
    models = stages["evaluate"]["models"]
    figures: dict[str, Any] = {"lift of watch time": look_up(stages["abtest"], "lift")}
    for metric, name in (("mae_s", "best MAE, s"), ("xauc", "best XAUC")):
        if best := best_model(models, metric):
            figures[f"{name} ({best})"] = models[best][metric]
    figures["clean exposures"] = look_up(stages["validate"], "rows.exposures.clean")
    figures["columns drifted"] = look_up(stages["drift"], "share_drifted")
    formats = {name: ".3f" if "MAE" in name else ".4f" for name in figures if name.startswith("best")}
    page.key_figures(figures, formats | {"lift of watch time": "+.2%", "columns drifted": ".0%"})


def add_data(page: Page, stages: dict[str, Metrics], window: Window) -> None:
    """What came in, which days each split has, what went to quarantine."""
    blocks: list[Any] = [Facts(data_facts(stages, window)), *quarantine(stages["validate"])]
    links = [Link("ingest/index.html", "days, columns, unparsable lines")]
    links.append(Link("validate/index.html", "row rules, dataset rules, days"))
    page.section("Data", *blocks, *links, half=True)


def add_features(page: Page, features: Metrics) -> None:
    """How many features, how fresh, and whether both stores agree."""
    facts = {
        "exposures with features": features.get("rows"),
        **{f"{kind} features": count for kind, count in (features.get("features") or {}).items()},
        "newest day": features.get("last_day"),
        "equal online and offline": look_up(features, "online_parity.equal_share"),
        **{f"with history of {name}": share for name, share in (features.get("history_share") or {}).items()},
    }
    formats = {name: ".1%" for name in facts if name.startswith("with history")} | {"equal online and offline": ".2%"}
    link = Link("features/index.html", "history, nulls, sources, online store")
    page.section("Features", Facts(_known(facts), formats), link, half=True)


def training_table(training: dict[str, Metrics]) -> Table:
    """A row per trained model."""
    rows = [
        [
            Link(f"{CARDS}/{name}.html", name),
            *(look_up(metrics, f"valid.{metric}") for metric in ("mae_s", "rmse_s", "xauc")),
            look_up(metrics, "train.rows"),
            metrics.get("best_step"),
            metrics.get("parameters"),
            Link(f"train/{name}/index.html", "curves"),
        ]
        for name, metrics in training.items()
    ]
    columns = ["model", "MAE s", "RMSE s", "XAUC", "rows", "best step", "parameters", "page"]
    return Table(columns, rows, formats={"MAE s": ".3f", "RMSE s": ".3f", "XAUC": ".4f"})


def add_finetune(page: Page, finetune: Metrics) -> None:
    """Before, after and difference on the held-out rows."""
    rows = [
        [TITLE[metric], *ends, *(look_up(finetune, f"difference.{metric}.{end}") for end in ("value", "low", "high"))]
        for metric in ("mae_s", "rmse_s", "xauc")
        if None not in (ends := [look_up(finetune, f"{when}.{metric}") for when in ("before", "after")])
    ]
    columns = ["held-out rows", "before", "after", "difference", "low", "high"]
    facts = {"method": finetune.get("method"), "rows trained on": look_up(finetune, "rows.train")}
    facts |= {"rows held out": look_up(finetune, "rows.held_out"), "step kept": look_up(finetune, "steps.kept")}
    blocks = [Table(columns, rows, formats=dict.fromkeys(columns[1:], ".4f")), Facts(_known(facts))]
    page.section("Fine-tune", *blocks, Link("finetune/index.html", "curves, updates of the weights"))


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
        [
            Link(f"{CARDS}/{name}.html", name),
            *(Best(values[m]) if best[m] == name and len(models) > 1 else values.get(m) for m in metrics),
        ]
        for name, values in models.items()
    ]
    if evaluation.get("best_constant"):
        rows.append(["best constant", *(evaluation["best_constant"].get(metric) for metric in metrics)])
    titles = {metric: TITLE.get(metric, metric) for metric in metrics}
    formats = {title: number_format(metric) for metric, title in titles.items()}
    caption = "Models on the eval days; the best of each column is marked, a name leads to the model's card"
    return Table(["model", *titles.values()], rows, caption, formats)


def differences(evaluation: Metrics) -> list[Any]:
    """MAE of each model minus the baseline's, with interval, as a chart; nothing where there is no baseline."""
    found = {
        name: values["mae_s"]
        for name, values in evaluation.get("differences", {}).items()
        if values.get("mae_s") and None not in values["mae_s"].values()
    }
    if not found:
        return []
    ends = [[values[key] for values in found.values()] for key in ("value", "low", "high")]
    label = f"MAE minus that of {evaluation.get('baseline', 'the baseline')}, s (left is better)"
    return [charts.interval_chart(list(found), *ends, x_label=label, title="Difference in MAE, 95 % interval")]


def add_lift(page: Page, abtest: Metrics) -> None:
    """Lift of the treatment with its interval, adjusted by CUPED, and the true lift where it is known."""
    marks = [
        (name, look_up(abtest, f"{path}lift"), *(look_up(abtest, f"{path}interval.{end}") for end in ("low", "high")))
        for name, path in (("lift", ""), ("with CUPED", "cuped."))
    ]
    for key, name in (("true_lift", "true lift"), ("expected_lift", "expected lift")):
        marks.append((name, *[abtest.get(key)] * 3))
    marks = [mark for mark in marks if None not in mark[1:]]
    arms = {arm: look_up(abtest, f"arms.{arm}.model") or arm for arm in ("treatment", "control")}
    blocks: list[Any] = [Callout("warn", CAUTIONS[name])] if (name := abtest.get("environment")) in CAUTIONS else []
    if marks:
        columns = [[mark[0] for mark in marks], *([100 * mark[i] for mark in marks] for i in (1, 2, 3))]
        title = f"{arms['treatment']} against {arms['control']}"
        of = "the first video's watch time" if abtest.get("environment") == "replay" else "watch time per user"
        blocks.append(charts.interval_chart(*columns, x_label=f"lift of {of}, %", title=title))
    facts = {
        "environment": abtest.get("environment"),
        "p-value": abtest.get("p_value"),
        "sample ratio, p-value": abtest.get("srm_p"),
        POWER: look_up(abtest, "minimum_detectable_lift.plain"),
    }
    formats = {"p-value": ".4f", "sample ratio, p-value": ".2g", POWER: ".1%"}
    link = Link("abtest/index.html", "metrics, checks, arms, room to gain")
    page.section("A/B test", *blocks, Facts(_known(facts), formats), link, half=True)


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


def data_facts(stages: dict[str, Metrics], window: Window) -> dict[str, Any]:
    """Source, days and rows, and which days or rows each split has."""
    ingest, rows = stages["ingest"], "rows.exposures"
    days = " to ".join(str(ingest[key]) for key in ("first_day", "last_day") if ingest.get(key))
    kept = [show(look_up(stages["validate"], f"{rows}.{part}")).text for part in ("clean", "quarantined")]
    return _known(
        {
            "source": ingest.get("source"),
            "days of the source": days,
            **{
                f"{split} {'days' if window.rows is None else 'rows'}": text for split, text in window.described.items()
            },
            "exposures": look_up(ingest, rows),
            "clean, in quarantine": " and ".join(kept),
            "lines not parsable": look_up(ingest, "rows.unparsable"),
            "users": look_up(ingest, "rows.users"),
            "videos": look_up(ingest, "rows.videos"),
            "mean watch time, s": look_up(ingest, "watch_time.mean_s"),
        }
    )


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


def _known(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}
