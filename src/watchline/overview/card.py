"""A model's card: what someone needs who decides whether it may serve, on one page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from watchline.data.splits import Window
from watchline.overview.limits import limits
from watchline.overview.reading import Metrics, Run, digest, look_up, number_format
from watchline.overview.verdict import CANNOT_TELL, CAUTIONS, overall
from watchline.report import Facts, Link, Page, Table, Text, Verdict, charts
from watchline.report.metric_words import TITLE

FINETUNED = "gr_finetuned"
UP = "../.."
METRICS = ("mae_s", "rmse_s", "xauc", "gauc", "calibration")

PURPOSE = (
    "It predicts the watch time of an exposure (a user is shown a video at a moment) as a distribution or some of its "
    "statistics, from what was known at that moment. Use each statistic for what it is made for: the median where the "
    "absolute error counts, the mean where sums of watch time do, the expected rank or the mean to order candidates. "
    "It says nothing about clicks, likes or satisfaction, and nothing about videos longer or users other than those "
    "in its training days."
)
EXPECTED = "expected lift over the control"
INTERVALS = "95 % intervals: bootstrap by user, so they tell of other users like these, not of other days or seeds."


@dataclass(frozen=True)
class Subject:
    """The model a card is about, with the sections of params.yaml that made it."""

    name: str
    params: Mapping[str, Any]

    @property
    def trained(self) -> str:
        """The model of the train stage that it is or comes from."""
        return "gr" if self.name == FINETUNED else self.name


def build_card(subject: Subject, run: Run, window: Window) -> Page:
    """The card, from metrics.json of the stages and the parameters alone."""
    name, evaluation = subject.name, run.stages["evaluate"]
    values = evaluation["models"][name]
    page = Page("report", f"Model card: {name}", _lead(subject, values), _role(name, run.stages))
    shown = {TITLE[key]: values[key] for key in METRICS if values.get(key) is not None}
    formats = {TITLE[key]: number_format(key) for key in METRICS}
    page.key_figures(shown, {title: formats[title] for title in shown})
    page.section("What it is for", Text(PURPOSE))
    page.section("Accuracy on the eval days", *_accuracy(name, evaluation), note=INTERVALS)
    if evaluation.get("slices"):
        note = "A slice with few rows says little; watch-time slices are cut by the label itself."
        page.section("By slice", _slices(name, evaluation["slices"]), *_slice_figures(name, evaluation), note=note)
    if "interval_80" in values:
        page.section("Prediction intervals", *_intervals(values["interval_80"]))
    page.section("Online", *_online(name, run.stages["abtest"]))
    page.section("Limits", _limits(name, run, window))
    page.section(
        "Data", Facts(_data(run.stages, window)), Link(f"{UP}/index.html#data", "the data of this run"), half=True
    )
    page.section("Training", *_training(subject, run), half=True)
    page.section("Parameters", Table(["parameter", "value"], list(map(list, _flat(subject.params).items()))))
    page.section("How to reproduce it", *_reproduce(subject, run))
    return page


def _lead(subject: Subject, values: Metrics) -> str:
    made = "`gr`, fine-tuned on the freshest days" if subject.name == FINETUNED else f"A `{subject.trained}` model"
    return f"{made}; {values['rows']:,} eval rows."


def _role(name: str, stages: dict[str, Metrics]) -> Verdict:
    """Whether to ship it, as far as this run can say."""
    abtest = stages["abtest"]
    arms = _arms_of(name, abtest)
    if "treatment" in arms:
        return overall(stages)
    if "control" in arms:
        return Verdict("info", "The control of the A/B test: what the others are judged against.", "In use")
    if arms:
        words = f"An arm of the A/B test, {', '.join(arms)}; its verdict is that of the first treatment."
        return Verdict("info", words, CANNOT_TELL)
    if swept := _swept(name, abtest):
        words = f"No arm of the A/B test. Expected lift over the control {swept['lift']:+.2%}, {swept['low']:+.2%} to "
        return Verdict("info", f"{words}{swept['high']:+.2%}, of simulated sessions.", CANNOT_TELL)
    return Verdict("info", "Not in the A/B test: nothing is known of its effect online.", CANNOT_TELL)


def _arms_of(name: str, abtest: Metrics) -> list[str]:
    """The arms that the model is: control, treatment, treatment_2, ..."""
    return [arm for arm, values in (abtest.get("arms") or {}).items() if values.get("model") == name]


def _swept(name: str, abtest: Metrics) -> Metrics | None:
    """The model's row of the sweep, where it has a lift with an interval."""
    found = [model for model in look_up(abtest, "sweep.models") or [] if model["model"] == name]
    return found[0] if found and None not in (found[0][key] for key in ("lift", "low", "high")) else None


def _accuracy(name: str, evaluation: Metrics) -> list[Any]:
    """Metrics with intervals, beside the best constant and the difference from the baseline."""
    baseline = evaluation.get("baseline")
    rows = []
    for metric in METRICS:
        ends = [look_up(evaluation, f"intervals.{name}.{metric}.{end}") for end in ("low", "high")]
        change = [look_up(evaluation, f"differences.{name}.{metric}.{end}") for end in ("value", "low", "high")]
        value, constant = evaluation["models"][name].get(metric), look_up(evaluation, f"best_constant.{metric}")
        statistic = str(look_up(evaluation, f"statistics.{metric}") or "").replace("_", " ")
        rows.append([TITLE[metric], statistic, value, *ends, constant, *change])
    against = f"minus {baseline}" if baseline and baseline != name else "difference"
    columns = ["metric", "statistic", "value", "low", "high", "best constant", against, "from", "to"]
    if not baseline or baseline == name:
        columns, rows = columns[:6], [row[:6] for row in rows]
    formats = {column: "+.4f" if column in columns[6:] else ".4f" for column in columns[2:]}
    caption = "Best constant: the single number that is best on these very rows"
    return [Table(columns, rows, caption, formats), Link(f"{UP}/evaluate/index.html", "all models side by side")]


def _slices(name: str, slices: list[Metrics]) -> Table:
    """Every slice of every way to cut the eval rows."""
    rows = [
        [f"{part['title']}: {row['bucket']}", row["rows"], row["mean_label_s"], row["mae_s"][name], row["xauc"][name]]
        for part in slices
        for row in part["rows"]
        if name in row["mae_s"]
    ]
    formats = {"mean watch time s": ".2f", "MAE s": ".3f", "XAUC": ".4f"}
    return Table(["slice", "rows", "mean watch time s", "MAE s", "XAUC"], rows, formats=formats)


def _slice_figures(name: str, evaluation: Metrics) -> list[Any]:
    """XAUC of the slices whose cut does not hang on the label."""
    prefixes = {"Video duration": "video ", "User activity": "user ", "Cold users and videos": ""}
    found = {
        prefixes[part["title"]] + row["bucket"]: row["xauc"].get(name)
        for part in evaluation["slices"]
        if part["title"] in prefixes
        for row in part["rows"]
    }
    known = {label: value for label, value in found.items() if value is not None}
    return (
        [charts.bar_chart(list(known), list(known.values()), "XAUC; 0.5 is chance", "Order within slices")]
        if known
        else []
    )


def _intervals(interval: Metrics) -> list[Any]:
    keys = {"coverage": "within", "below": "below", "above": "above", "coverage_pit": "within, atoms shared out"}
    nominal = {"coverage": 0.8, "below": 0.1, "above": 0.1, "coverage_pit": 0.8}
    rows = [[title, interval[key], nominal[key]] for key, title in keys.items() if interval.get(key) is not None]
    table = Table(["watch times", "share", "nominal"], rows, formats={"share": ".1%", "nominal": ".0%"})
    return [table, Facts({"mean width, s": interval.get("width_s")}, {"mean width, s": ".2f"})]


def _online(name: str, abtest: Metrics) -> list[Any]:
    """Its arm of the A/B test with the lift, else its expected lift of the sweep, else that it had none."""
    link = Link(f"{UP}/abtest/index.html", "the A/B test")
    environment, arms = abtest.get("environment"), _arms_of(name, abtest)
    caution = [Text(CAUTIONS[environment])] if environment in CAUTIONS else []
    ends = {"95 % interval, from": "low", "to": "high"}
    if not arms:
        words = "No arm of the simulated A/B test used it. Set `abtest.treatment` to its name to test it."
        if (swept := _swept(name, abtest)) is None:
            return [Text(words), link]
        facts = {EXPECTED: swept["lift"], **{title: swept[end] for title, end in ends.items()}}
        return [Text(words), *caution, Facts(facts, dict.fromkeys(facts, "+.2%")), link]
    facts = {
        "arm": ", ".join(arms),
        "ranked by": str(look_up(abtest, f"arms.{arms[0]}.statistic") or "").replace("_", " "),
        "environment": environment,
    }
    found = _found_of(arms[0], abtest)
    lifts = {"lift of treatment over control" if arms[0] == "control" else "lift over the control": found.get("lift")}
    lifts |= {title: look_up(found, f"interval.{end}") for title, end in ends.items()}
    lifts["true lift"] = found.get("true_lift")
    known = {key: value for key, value in (facts | lifts).items() if value is not None}
    return [*caution, Facts(known, {key: "+.2%" for key in known if key in lifts}), link]


def _found_of(arm: str, abtest: Metrics) -> Metrics:
    """What the test found of an arm: of a further treatment its own, of the control and the first the top level."""
    if arm in ("control", "treatment"):
        return abtest
    found: Metrics | None = look_up(abtest, f"more_arms.{arm}") or look_up(abtest, f"comparisons.{arm}.dr")
    return found or {}


def _limits(name: str, run: Run, window: Window) -> Table:
    rows = [[limit.what, Verdict(limit.status, limit.finding)] for limit in limits(name, run, window)]
    return Table(["what", "finding"], rows, "What may go wrong with it, as far as this run shows")


def _data(stages: dict[str, Metrics], window: Window) -> dict[str, Any]:
    kind = "days" if window.rows is None else "rows"
    return {
        "source": look_up(stages["ingest"], "source"),
        **{f"{split} {kind}": text for split, text in window.described.items()},
        "clean exposures": look_up(stages["validate"], "rows.exposures.clean"),
        "in quarantine": look_up(stages["validate"], "rows.exposures.quarantined"),
        "users": look_up(stages["ingest"], "rows.users"),
        "videos": look_up(stages["ingest"], "rows.videos"),
    }


def _training(subject: Subject, run: Run) -> list[Any]:
    metrics = run.training.get(subject.trained, {})
    facts = {
        "training rows": look_up(metrics, "train.rows"),
        "best step": metrics.get("best_step"),
        "parameters": metrics.get("parameters"),
        "MAE on the validation days, s": look_up(metrics, "valid.mae_s"),
    }
    links = [Link(f"{UP}/train/{subject.trained}/index.html", f"training of {subject.trained}")]
    if subject.name == FINETUNED:
        finetune = run.stages["finetune"]
        facts |= {
            "fine-tuned by": finetune.get("method"),
            "fine-tuning rows": look_up(finetune, "rows.train"),
            "held-out MAE before, s": look_up(finetune, "before.mae_s"),
            "held-out MAE after, s": look_up(finetune, "after.mae_s"),
        }
        links.append(Link(f"{UP}/finetune/index.html", "fine-tuning"))
    return [Facts({key: value for key, value in facts.items() if value is not None}), *links]


def _flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`train.gr.width: 64` rather than mappings in mappings."""
    flat: dict[str, Any] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _reproduce(subject: Subject, run: Run) -> list[Any]:
    """Hashes that tell this run from others, and where the commit is found: no output may carry it itself."""
    stage = "finetune" if subject.name == FINETUNED else f"train@{subject.name}"
    made, measured = f"reports/{_report_of(subject)}/metrics.json", "reports/evaluate/metrics.json"
    words = (
        f"In a checkout of the commit: `dvc pull`, then `dvc repro {stage}`, or `dvc checkout models/{subject.name}` "
        "for the stored weights. Equal inputs and parameters give equal bytes on CPU.\n\n"
        "An output of the line carries no commit, so that equal runs have equal outputs. `dvc.lock` has the hashes "
        f"below: `git log --all -S {run.md5[measured]} -- dvc.lock` finds the commit of a run whose `dvc.lock` was "
        "committed, and `make reports` writes the commit and all hashes to `reports/run/index.html`."
    )
    rows = [[path, run.md5[path]] for path in (made, measured, "reports/features/metrics.json")]
    rows.append(["the parameters above (SHA-256, first 12)", digest(subject.params)])
    return [Text(words), Table(["what", "hash"], rows)]


def _report_of(subject: Subject) -> str:
    return "finetune" if subject.name == FINETUNED else f"train/{subject.name}"
