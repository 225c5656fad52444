"""Ship, don't ship, or can't tell, and why: from the verdicts of the stages."""

from __future__ import annotations

from typing import Any

from watchline.overview.reading import JUDGING_STAGES, Metrics, best_model, look_up, verdict_of
from watchline.report import Link, Table, Verdict
from watchline.report.metric_words import DISTANCE
from watchline.report.values import show

DO_NOT_SHIP, CANNOT_TELL = "Don't ship", "Can't tell"
_SIDES = {"better": "better by", "worse": "worse by", "same": "not told apart by"}
# What an environment's answers are, where they are not the world's own.
CAUTIONS = {
    "model": "The answers come from a reward model, not from users: a check of plausibility, not a forecast.",
    "matrix": "The answers are recorded plays: a user's one answer to a video stands for any other time.",
    "replay": "The values are of first choices alone, weighed by how likely the log was to show them; no sessions.",
}


def overall(stages: dict[str, Metrics]) -> Verdict:
    """The verdict of the run: the A/B test's, unless the data did not pass."""
    data = verdict_of(stages["validate"])
    if data.status == "fail":
        return Verdict("fail", f"The data did not pass: {data.text}", DO_NOT_SHIP)
    return _online(stages["abtest"])


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
    """What the verdict hangs on: where it is answered, how, and in which words."""
    found = {
        ("abtest", "A/B test"): _online(stages["abtest"]),
        ("abtest", "checks of the test"): _test_of_the_test(stages["abtest"]),
        ("validate", "data"): verdict_of(stages["validate"]),
        ("evaluate", "seen offline"): _offline(stages),
        ("drift", "drift"): verdict_of(stages["drift"]),
    }
    rows = [[Link(f"{stage}/index.html", name), verdict] for (stage, name), verdict in found.items() if verdict]
    return Table(["page", "what it says"], rows)


def _online(abtest: Metrics) -> Verdict:
    """The A/B test's own verdict; raises ValueError for metrics.json of before it had a word."""
    if (word := abtest["verdict"].get("word")) is None:
        raise ValueError("reports/abtest/metrics.json: the verdict has no word; run the stage abtest again")
    return Verdict(abtest["verdict"]["status"], abtest["verdict"]["text"], word)


def _test_of_the_test(abtest: Metrics) -> Verdict | None:
    """Sample ratio and A/A: whether users were split as planned, and a test of nothing finds nothing."""
    ratio, is_broken, rate = (look_up(abtest, path) for path in ("srm_p", "srm_alarm", "aa.false_positive_rate"))
    low, high = (look_up(abtest, f"aa.false_positive_band.{end}") for end in ("low", "high"))
    if None in (ratio, is_broken, rate, low, high):
        return None
    words = f"{rate:.1%} of A/A splits show a lift, {low:.1%} to {high:.1%} expected; sample ratio p = {ratio:.2g}"
    if is_broken:
        words += ", an alarm: users were not split as planned, do not read the lift"
    if (name := abtest.get("environment")) in CAUTIONS:
        words += f". {CAUTIONS[name]}"
    return Verdict("fail" if is_broken else "pass" if low <= rate <= high else "warn", words)


def _offline(stages: dict[str, Metrics]) -> Verdict | None:
    """Where the treatment is better and worse than the control offline, beside the sign of its simulated lift.

    Where the control is the evaluation's baseline, a metric counts when the interval of its difference leaves out 0.
    """
    evaluation, abtest = stages["evaluate"], stages["abtest"]
    models = evaluation["models"]
    control, treatment = (look_up(abtest, f"arms.{arm}.model") for arm in ("control", "treatment"))
    lift = abtest.get("lift")
    if control not in models or treatment not in models or control == treatment or lift is None:
        return None
    changes: dict[str, list[str]] = {side: [] for side in _SIDES}
    for metric, title in (("mae_s", "MAE"), ("rmse_s", "RMSE"), ("xauc", "XAUC")):
        before, after = (models[name].get(metric) for name in (control, treatment))
        if None in (before, after):
            continue
        side = "better" if DISTANCE[metric](after) < DISTANCE[metric](before) else "worse"
        if before == after or (evaluation.get("baseline") == control and _holds_zero(evaluation, treatment, metric)):
            side = "same"
        changes[side].append(f"{title} {show(before).text} to {show(after).text}")
    parts = [f"{_SIDES[side]} {', '.join(found)}" for side, found in changes.items() if found]
    words = f"{treatment} against {control}: {'; '.join(parts)}. Simulated {lift:+.2%}."
    status, word = _foreseen(changes, abtest)
    return Verdict(status, words, word)


def _holds_zero(evaluation: Metrics, model: str, metric: str) -> bool:
    """Whether the interval of a model's difference from the baseline holds 0; where there is none it does."""
    low, high = (look_up(evaluation, f"differences.{model}.{metric}.{end}") for end in ("low", "high"))
    return None in (low, high) or low <= 0 <= high


def _foreseen(changes: dict[str, list[str]], abtest: Metrics) -> tuple[str, str]:
    """Whether the signs of the offline changes are that of a lift whose interval leaves out 0."""
    low, high = (look_up(abtest, f"interval.{end}") for end in ("low", "high"))
    if None in (low, high) or low <= 0 <= high or not (changes["better"] or changes["worse"]):
        return "info", "Open"
    right, wrong = ("better", "worse") if low > 0 else ("worse", "better")
    if not changes[wrong]:
        return "pass", "Yes"
    return ("info", "In part") if changes[right] else ("warn", "No")
