"""Ship, don't ship, or can't tell, and why: from the verdicts of the stages."""

from __future__ import annotations

from typing import Any

from watchline.overview.reading import DISTANCE, JUDGING_STAGES, Metrics, best_model, look_up, verdict_of
from watchline.report import Link, Table, Verdict
from watchline.report.values import show

SHIP, DO_NOT_SHIP, CANNOT_TELL = "Ship", "Don't ship", "Can't tell"
_WORDS = {"pass": SHIP, "fail": DO_NOT_SHIP}
OF_A_MODEL = "The answers come from a reward model, not from users: a check of plausibility, not a forecast."


def overall(stages: dict[str, Metrics]) -> Verdict:
    """The verdict of the run: the A/B test's, unless the data did not pass."""
    data = verdict_of(stages["validate"])
    if data.status == "fail":
        return Verdict("fail", f"The data did not pass: {data.text}", DO_NOT_SHIP)
    online = verdict_of(stages["abtest"])
    return Verdict(online.status, online.text, _WORDS.get(online.status, CANNOT_TELL))


def summarise(stages: dict[str, Metrics]) -> dict[str, Any]:
    """The content of reports/report/metrics.json."""
    models, verdict = stages["evaluate"]["models"], overall(stages)
    return {
        "verdict": {"status": verdict.status, "word": verdict.word, "text": verdict.text},
        "verdicts": {stage: stages[stage]["verdict"] for stage in JUDGING_STAGES},
        "best": {metric: best_model(models, metric) for metric in ("mae_s", "rmse_s", "xauc")},
        "lift": look_up(stages["abtest"], "lift"),
        "share_drifted": look_up(stages["drift"], "share_drifted"),
    }


def reasons(stages: dict[str, Metrics]) -> Table:
    """A row per question that the verdict hangs on: where it was answered, how, and in which words."""
    online, data, moved = (verdict_of(stages[stage]) for stage in ("abtest", "validate", "drift"))
    rows: list[list[Any]] = [["What does the A/B test say?", _badge(online), online.text, _page("abtest")]]
    if found := _test_of_the_test(stages["abtest"]):
        rows.append(["Can the test be trusted?", *found, _page("abtest")])
    rows.append(["Did the data pass?", _badge(data), data.text, _page("validate")])
    if found := _offline(stages):
        rows.append(["Did offline metrics see it coming?", *found, _page("evaluate")])
    rows.append(["Do the eval days look like the training days?", _badge(moved), moved.text, _page("drift")])
    return Table(["question", "answer", "finding", "page"], rows)


def _badge(verdict: Verdict) -> Verdict:
    return Verdict(verdict.status)


def _page(stage: str) -> Link:
    return Link(f"{stage}/index.html", stage)


def _test_of_the_test(abtest: Metrics) -> tuple[Verdict, str] | None:
    """Sample ratio and A/A: whether users were split as planned, and a test of nothing finds nothing."""
    ratio, rate = look_up(abtest, "srm_p"), look_up(abtest, "aa.false_positive_rate")
    low, high = (look_up(abtest, f"aa.false_positive_band.{end}") for end in ("low", "high"))
    if None in (ratio, rate, low, high):
        return None
    words = f"{rate:.1%} of A/A splits show a lift, {low:.1%} to {high:.1%} expected; sample ratio p = {ratio:.3f}"
    if abtest.get("environment") != "oracle":
        words += f". {OF_A_MODEL}"
    return Verdict("pass" if low <= rate <= high else "warn"), words


def _offline(stages: dict[str, Metrics]) -> tuple[Verdict, str] | None:
    """Where the treatment is better and worse than the control offline, beside the sign of its lift."""
    models, abtest = stages["evaluate"]["models"], stages["abtest"]
    control, treatment = (look_up(abtest, f"arms.{arm}.model") for arm in ("control", "treatment"))
    lift = abtest.get("lift")
    if control not in models or treatment not in models or control == treatment or lift is None:
        return None
    changes: dict[str, list[str]] = {"better": [], "worse": []}
    for metric, title in (("mae_s", "MAE"), ("rmse_s", "RMSE"), ("xauc", "XAUC")):
        before, after = (models[name].get(metric) for name in (control, treatment))
        if None not in (before, after) and before != after:
            side = "better" if DISTANCE[metric](after) < DISTANCE[metric](before) else "worse"
            changes[side].append(f"{title} {show(before).text} to {show(after).text}")
    parts = [f"{side} by {', '.join(found)}" for side, found in changes.items() if found]
    words = f"{treatment} against {control}: {'; '.join(parts) or 'equal'}. Online {lift:+.2%}."
    return _foreseen(changes, lift, verdict_of(abtest).status), words


def _foreseen(changes: dict[str, list[str]], lift: float, status: str) -> Verdict:
    """Whether the signs of the offline changes are that of a lift which the test tells from zero."""
    if status not in _WORDS:
        return Verdict("info", "", "Open")
    right, wrong = ("better", "worse") if lift > 0 else ("worse", "better")
    if not changes[wrong]:
        return Verdict("pass", "", "Yes")
    return Verdict("info", "", "In part") if changes[right] else Verdict("warn", "", "No")
