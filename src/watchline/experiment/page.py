"""The page of a simulated test, from the content of its metrics.json and nothing else."""

from __future__ import annotations

from typing import Any

from watchline.experiment.planning_page import add_outlook, add_sequence
from watchline.experiment.result_page import add_lifts, add_quantities
from watchline.experiment.statistics import ALPHA, SRM_ALARM
from watchline.experiment.sweep_page import add_sweep
from watchline.report import charts
from watchline.report.blocks import Callout, Facts, Table, Text, Verdict
from watchline.report.page import Page

ENVIRONMENT = {
    "oracle": (
        "The oracle environment: answers are drawn from the law that generated the data, so the true lift of the two "
        "policies on these sessions is known, up to its own small Monte Carlo error, and stands beside the estimates."
    ),
    "matrix": (
        "The matrix environment: answers are the recorded plays of a log in which nearly every pair of its users and "
        "videos was observed; videos without a record are never candidates. What a user answered once stands for what "
        "the user would answer at any time, so the lift is that of these users and these answers."
    ),
    "model": (
        "The reward-model environment: answers come from a model of watch time, not from users. It was fitted on the "
        "eval days, which no arm was trained on: its means on half of the users, its spread and calibration on the "
        "other half. It knows no more than the features do, it learned from videos that another policy chose to show, "
        "and it is an ensemble of trees, so it may favour an arm of trees. Read the lift as a check of plausibility, "
        "not as a forecast."
    ),
}

METHOD = (
    "Requests are exposures of the eval days, drawn without replacement, of which user, time and surface are kept. The "
    "{candidates} candidates of a request are drawn ({retrieval}) from the videos shown on the {catalogue_days} days "
    "before its day, with features as of its moment. An arm ranks them once; the user goes down the list, {top_k} a "
    "page, for up to {pages} pages. Users are assigned by a hash of salt and id.\n\n"
    "After every exposure the session goes on with chance expit({patience[stay_logit]} + own patience - "
    "{patience[fatigue_per_minute]} * minutes so far + mood). Own patience is a user's, normal with deviation "
    "{patience[spread]}; mood keeps {patience[memory]} of itself, gains {patience[gain]} * log((1 + watch time) / (1 + "
    "what the user expects)) and loses {patience[skip_loss]} at a quick skip. These numbers are assumptions.\n\n"
    "Intervals are 95 %. Fieller's of a lift holds 0 exactly when Welch's p-value is above 0.05; per exposure and per "
    "session variances are by the delta method. CUPED adjusts by the watch time of the {pre_period_days} days before. "
    "Every user has one value, because exposures of one user are not independent (docs/ab_statistics.md)."
)

POWER = "smallest lift found with 80 % power, by the test's days"


def build_page(result: dict[str, Any]) -> Page:
    """The page of one test; `result` is what `summarise` gives, with the stage's `asked` and `window`."""
    control, treatment = result["arms"]["control"], result["arms"]["treatment"]
    asked, window = result["asked"], result["window"]
    users = sum(arm["users"] for arm in result["arms"].values())
    lead = (
        f"{_arm(treatment)} against {_arm(control)}: {asked['requests']:,} sessions of {window['eval_first']} to "
        f"{window['eval_last']}, {users:,} users in {len(result['arms'])} arms."
    )
    page = Page("abtest", "Simulated A/B test", lead, Verdict(**result["verdict"]))
    figures = {"lift of watch time per user": result["lift"], "p-value": result["p_value"]}
    figures |= {"true lift": result["true_lift"]} if "true_lift" in result else {}
    figures[POWER] = result["minimum_detectable_lift"]["plain"]
    page.key_figures(figures, {**dict.fromkeys(figures, "+.2%"), "p-value": ".3f", POWER: ".1%"})
    name = result["environment"]
    page.section("Environment", Callout("info" if name == "oracle" else "warn", ENVIRONMENT[name]))
    add_lifts(page, result)
    add_quantities(page, result)
    add_sequence(page, result["sequence"])
    _add_checks(page, result)
    add_outlook(page, result["outlook"])
    _add_more_arms(page, result)
    if "sweep" in result:
        add_sweep(page, result["sweep"])
    page.section("Arms", _arms_table(result))
    _add_headroom(page, result)
    if "reward_model" in result:
        note = "On the half of the users it was not fitted on; calibration is from before it was scaled to them."
        quality = result["reward_model"]
        facts = {"rows": quality["rows"], "RMSE s": quality["rmse_s"], "XAUC": quality["xauc"]}
        facts["calibration"] = quality["calibration_before_scaling"]
        page.section("Reward model", Facts(facts, {"XAUC": ".4f", "calibration": ".3f"}), note=note)
    page.section("How it was run", Text(METHOD.format(**asked)))
    return page


def _arm(arm: dict[str, Any]) -> str:
    explores = "".join(f", {name} {arm[name]:g}" for name in ("epsilon", "temperature") if arm[name])
    return f"{arm['model']} (ranked by {arm['statistic'].replace('_', ' ')}{explores})"


def _add_checks(page: Page, result: dict[str, Any]) -> None:
    """Sample ratio, A/A, false positives, power."""
    aa, mde = result["aa"], result["minimum_detectable_lift"]
    band = aa["false_positive_band"]
    p_value = aa["p_value"]
    rows: list[list[Any]] = [
        [
            "sample ratio",
            _badge(result["srm_p"] >= SRM_ALARM, "as planned", "mismatch"),
            f"p = {result['srm_p']:.4f}; alarm below {SRM_ALARM}. A control 1 % too large would take "
            f"{result['srm_users_for_one_percent']:,} users to be seen; there are "
            f"{sum(arm['users'] for arm in result['arms'].values()):,}",
        ],
        [
            "A/A: control against itself",
            _badge(p_value is None or p_value >= ALPHA, "no lift", "a lift where there is none"),
            _span(aa),
        ],
        [
            "false positives of A/A splits",
            _badge(band["low"] <= aa["false_positive_rate"] <= band["high"], "at the level", "off the level"),
            f"{aa['false_positive_rate']:.1%} of {aa['runs']} splits; {band['low']:.1%} to {band['high']:.1%} expected",
        ],
    ]
    if mde["plain"] is not None:
        text = f"{mde['plain']:.1%}; with CUPED {mde['cuped']:.1%} (correlation {result['cuped']['rho']:.2f})"
        rows.append([POWER, Verdict("info", "power"), text])
    page.section("Checks", Table(["check", "verdict", "finding"], rows))


def _add_more_arms(page: Page, result: dict[str, Any]) -> None:
    """Every treatment against the control, where there are several."""
    if not result["more_arms"]:
        return
    truth = "true_lift" if "true_lift" in result else "expected_lift"
    columns = ["arm", "lift", "low", "high", "p-value", "p-value, corrected", truth.replace("_", " ")]
    rows = [
        [
            f"{arm}: {_arm(result['arms'][arm])}",
            found["lift"],
            *(found["interval"][end] for end in ("low", "high")),
            found["p_value"],
            found["p_corrected"],
            found[truth],
        ]
        for arm, found in result["more_arms"].items()
    ]
    formats = dict.fromkeys(["lift", "low", "high", columns[-1]], "+.2%")
    formats |= dict.fromkeys(["p-value", "p-value, corrected"], ".4f")
    note = "Watch time per user against the control; p-values corrected over the arms by Holm's method."
    page.section("All treatments", Table(columns, rows, formats=formats), note=note)


def _span(found: dict[str, Any]) -> str:
    interval = found["interval"]
    if None in (found["lift"], interval["low"], interval["high"]):
        return "the lift is not bounded"
    ends = f"{interval['low']:+.2%} to {interval['high']:+.2%}"
    return f"{found['lift']:+.2%} ({ends}), p = {found['p_value']:.3f}"


def _badge(good: bool, yes: str, no: str) -> Verdict:
    return Verdict("pass", yes) if good else Verdict("warn", no)


EXPECTED = {
    "expected_watch_s_per_session": "expected s a session",
    "expected_exposures_per_session": "expected exposures a session",
}


def _arms_table(result: dict[str, Any]) -> Table:
    keys = ["model", "statistic", "users", "requests", "exposures", *EXPECTED]
    rows = [
        [arm, *(values[key].replace("_", " ") if key == "statistic" else values[key] for key in keys)]
        for arm, values in result["arms"].items()
    ]
    titles = [EXPECTED.get(key, key) for key in keys]
    return Table(["arm", *titles], rows, formats=dict.fromkeys(EXPECTED.values(), ".2f"))


def _add_headroom(page: Page, result: dict[str, Any]) -> None:
    """Expected watch time of chance, of the arms, and of a policy that knows the environment."""
    expected = result["expected_s_per_exposure"]
    arms = result["arms"]
    titles = {
        "random": "by chance",
        "control": f"control: {arms['control']['model']}",
        "treatment": f"treatment: {arms['treatment']['model']}",
        "best": "best possible",
    }
    figure = charts.bar_chart(
        list(titles.values()),
        [expected[key] for key in titles],
        "s per exposure",
        "Expected watch time of first pages",
    )
    note = "Expectations of the environment over all first pages; the best possible policy ranks by the environment."
    page.section("Room to gain", figure, note=note)
