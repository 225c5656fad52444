"""Pages of the registry: the verdict of a promotion with every reason, and the history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from watchline.registry.arms import Arms
from watchline.registry.evidence import Evidence, Measured, Reference, SliceDifference
from watchline.registry.gate import GateConfig, Judgement
from watchline.registry.history import Entry
from watchline.report import charts
from watchline.report.blocks import Best, Callout, Facts, Link, Table, Text, Verdict
from watchline.report.page import Page

WORDS = {"pass": "holds", "fail": "does not hold", "info": "nothing to say"}
TITLE = {"mae_s": "MAE s", "rmse_s": "RMSE s", "xauc": "XAUC", "calibration": "calibration"}
FORMATS = {"MAE s": ".3f", "RMSE s": ".3f", "XAUC": ".4f", "calibration": ".3f"}
HISTORY = "history/index.html"  # a folder holds the content of one page

METHOD = (
    "Candidate and reference predicted the same eval rows with the stage `evaluate`, and ranked the same simulated "
    "requests with the stage `abtest`, each by its own statistic. Differences are candidate minus reference, with a "
    "95 % interval of the paired bootstrap by user. Overall, the interval must rule out a loss beyond the margin; a "
    "slice is harmed only where its whole interval is beyond its margin: of many small slices some lose by chance. "
    "Thresholds: `conf/promote.yaml`."
)


def verdict_page(judgement: Judgement, evidence: Evidence, reference: Reference | None, config: GateConfig) -> Page:
    """Every reason, the numbers behind them, and where to read on."""
    first, last = evidence.windows["candidate"]
    against = f" against {reference.label}" if reference else ""
    lead = f"{evidence.model}{against}, {evidence.measured.rows:,} exposures of {first} to {last}."
    page = Page("promote", f"Promotion of {evidence.model}", lead, Verdict(judgement.status, judgement.text))
    page.key_figures(*_key_figures(evidence, reference))
    rows = [
        [check.name, Verdict(check.status, WORDS[check.status]), check.found, check.rule] for check in judgement.checks
    ]
    page.section("Reasons", Table(["check", "verdict", "found", "rule"], rows))
    page.section("Candidate and reference", _metrics_table(evidence, reference))
    if reference:
        title = f"MAE, candidate minus {reference.label}, s (left is better)"
        parts = [part for part in reference.slices if None not in (part.difference.low, part.difference.high)]
        names = [f"{part.title.lower()}, {part.bucket}" for part in parts]
        ends = [[getattr(part.difference, end) for part in parts] for end in ("value", "low", "high")]
        figures = [charts.interval_chart(names, ends[0], ends[1], ends[2], title, "Slices")] if parts else []
        page.section("Slices", _slice_table(reference.slices, config), *figures)
    page.section("How it was judged", Text(METHOD), Link(HISTORY, "what is in production, and what was before"))
    return page


def unchanged_page(model: str, label: str) -> Page:
    """The page of a candidate that is in production already."""
    text = f"{model} is {label}, which is in production: the same files, so there is nothing to judge."
    page = Page("promote", f"Promotion of {model}", "", Verdict("info", text))
    page.section("Read on", Link(HISTORY, "what is in production, and what was before"))
    return page


def taken_back_page(arms: Arms) -> Page:
    """The page of a candidate that a rollback took out of production: it does not come back by itself."""
    text = (
        f"Do not promote {arms.candidate}: it is {arms.label}, {arms.taken_back}. `python -m pipelines promote "
        f"{arms.candidate}` judges it again."
    )
    page = Page("promote", f"Promotion of {arms.candidate}", "", Verdict("fail", text))
    page.section("Read on", Link(HISTORY, "what is in production, and what was before"))
    return page


def history_page(entries: Sequence[Entry]) -> Page:
    """What is in production, and every event that led there, the last first."""
    if not entries:
        page = Page("promote", "Models in production", "Nothing was promoted yet.")
        page.section("How to promote", Text("`python -m pipelines promote` judges a candidate by the gate."))
        return page
    current = entries[-1]
    lead = "Every promotion and rollback; the last one says what is in production."
    text = f"v{current.version} ({current.model}) is in production since {_time(current)}: {current.reason}"
    page = Page("promote", "Models in production", lead, Verdict("info", text))
    columns = [
        "event",
        "at",
        "action",
        "version",
        "model",
        "MAE s",
        "XAUC",
        "lift, lower end",
        "last eval day",
        "reason",
    ]
    rows = [_event(entry, entry is current) for entry in entries[::-1]]
    table = Table(columns, rows, formats={"MAE s": ".3f", "XAUC": ".4f", "lift, lower end": "+.2%"})
    page.section("History", table, note="`registry/history.jsonl`, to which lines are only ever added.")
    facts = {
        "files": f"registry/models/v{current.version}, tracked by registry/models/v{current.version}.dvc",
        "model card": f"registry/{current.card}",
        "a rollback brings back": "nothing" if current.predecessor is None else f"v{current.predecessor}",
        "git commit": current.commit or "not known",
        "SHA-256 of the files": current.digest,
    }
    page.section("In production", Facts(facts), Callout("info", current.verdict.text))
    return page


def _event(entry: Entry, current: bool) -> list[Any]:
    version = f"v{entry.version}"
    numbers = [entry.metrics.get(key) for key in ("mae_s", "xauc", "lift_low")]
    what = [entry.number, _time(entry), entry.action, Best(version) if current else version, entry.model]
    return [*what, *numbers, entry.window["eval_last"], entry.reason]


def _time(entry: Entry) -> str:
    return entry.at.replace("T", " ").replace("Z", " UTC")


def _key_figures(evidence: Evidence, reference: Reference | None) -> tuple[dict[str, Any], dict[str, str]]:
    figures: dict[str, Any] = {"MAE, s": evidence.measured.mae_s, "XAUC": evidence.measured.xauc}
    if reference:
        figures["difference in MAE, s"] = reference.differences["mae_s"].value
        figures["lift, lower end"] = reference.test.lift.low
    figures["calibration"] = evidence.measured.calibration
    formats = {"MAE, s": ".3f", "XAUC": ".4f", "difference in MAE, s": "+.3f", "lift, lower end": "+.2%"}
    return figures, {name: spec for name, spec in (formats | {"calibration": ".3f"}).items() if name in figures}


def _metrics_table(evidence: Evidence, reference: Reference | None) -> Table:
    def row(name: str, measured: Measured) -> list[Any]:
        return [name, *(getattr(measured, key) for key in TITLE)]

    rows = [row(f"candidate: {evidence.model}", evidence.measured)]
    rows += [row(f"reference: {reference.label}", reference.measured)] if reference else []
    return Table(["model", *TITLE.values()], rows, formats=FORMATS)


def _slice_table(slices: Sequence[SliceDifference], config: GateConfig) -> Table:
    columns = ["slice", "bucket", "rows", "MAE s of the reference", "difference", "low", "high", "judged"]
    rows = [
        [
            part.title,
            part.bucket,
            part.rows,
            part.reference_mae_s,
            *(getattr(part.difference, end) for end in ("value", "low", "high")),
            part.rows >= config.slice_min_rows,
        ]
        for part in slices
    ]
    formats = {"MAE s of the reference": ".3f", **dict.fromkeys(["difference", "low", "high"], "+.3f")}
    return Table(columns, rows, formats=formats)
