"""The gate on every reason it knows, one taken away at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.helpers.gate_evidence import CONFIG, DAYS, MEASURED, evidence, one_slice, reference
from watchline.config import ConfigError
from watchline.registry.__main__ import read_gate_config
from watchline.registry.evidence import Difference
from watchline.registry.gate import judge

EARLIER = ("2024-03-12", "2024-03-13")


def windows(**changes):
    return dict(evidence().windows) | changes


def test_a_candidate_that_holds_everything_passes_with_every_reason_said():
    found = judge(evidence(), reference(), CONFIG)
    assert found.status == "pass" and "Promote gr_finetuned: all 13 checks hold against v1" in found.text
    assert [check.name for check in found.checks] == [
        "window",
        "same rows",
        "validation",
        "drift",
        "calibration",
        "unseen rows",
        "MAE",
        "XAUC",
        "slices",
        "sample ratio",
        "A/A",
        "A/B",
        "lift",
    ]
    assert all(check.found and check.rule for check in found.checks)


@pytest.mark.parametrize(
    "failed, candidate, against",
    [
        ("window", {"windows": windows(drift=EARLIER)}, {}),
        ("window", {"windows": windows(validate=("", "2024-03-13"))}, {}),
        ("window", {"windows": windows(evaluate=("2024-03-12", DAYS[1]))}, {}),
        ("window", {}, {"test": {"window": EARLIER}}),
        ("same rows", {"reported": replace(MEASURED, rows=19_999)}, {}),
        ("same rows", {"reported": replace(MEASURED, mae_s=18.1)}, {}),
        ("same rows", {"reported": None}, {}),
        ("validation", {"validation": ("fail", "2 of 93 expectations failed")}, {}),
        ("drift", {"drift": ("fail", "99 of 143 feature columns drifted")}, {}),
        ("calibration", {"measured": replace(MEASURED, calibration=0.84)}, {}),
        ("calibration", {"measured": replace(MEASURED, calibration=1.16)}, {}),
        ("calibration", {"measured": replace(MEASURED, calibration=None)}, {}),
        ("unseen rows", {}, {"judged_until": "2024-03-15"}),
        ("MAE", {}, {"differences": {"mae_s": Difference(0.0, -0.2, 0.19), "xauc": Difference(0, 0, 0)}}),
        ("MAE", {}, {"differences": {"mae_s": Difference(0.0, None, None), "xauc": Difference(0, 0, 0)}}),
        ("XAUC", {}, {"differences": {"mae_s": Difference(0, 0, 0), "xauc": Difference(-0.003, -0.006, 0.001)}}),
        ("XAUC", {}, {"differences": {"mae_s": Difference(0, 0, 0), "xauc": Difference(None, None, None)}}),
        ("slices", {}, {"slices": one_slice(rows=500, low=0.21)}),
        ("slices", {}, {"slices": one_slice(rows=500, low=0.1)[:2]}),
        ("sample ratio", {}, {"test": {"sample_ratio_p": 0.0009}}),
        ("sample ratio", {}, {"test": {"aa_sample_ratio_p": 0.0009}}),
        ("A/A", {}, {"test": {"aa_p": 0.009}}),
        ("A/A", {}, {"test": {"aa_p": None}}),
        ("A/A", {}, {"test": {"false_positive_rate": 0.1}}),
        ("A/B", {}, {"test": {"status": "fail"}}),
        ("lift", {}, {"test": {"lift": Difference(0.02, -0.051, 0.09)}}),
        ("lift", {}, {"test": {"lift": Difference(None, None, None)}}),
    ],
)
def test_each_reason_alone_stops_the_candidate_and_is_named(failed, candidate, against):
    found = judge(evidence(**candidate), reference(**against), CONFIG)
    assert [check.name for check in found.checks if check.status == "fail"] == [failed]
    assert found.status == "fail" and found.text.startswith("Do not promote gr_finetuned: 1 of 13 checks")
    assert found.text.endswith(f"{failed}.")


@pytest.mark.parametrize(
    "against",
    [
        {"differences": {"mae_s": Difference(0.1, 0.05, 0.18), "xauc": Difference(-0.004, -0.005, -0.003)}},
        {"slices": one_slice(rows=499, low=5.0)},
        {"slices": one_slice(rows=500, low=0.2)},
        {"slices": one_slice(rows=9000, low=5.0, title="Watch time")},
        {"test": {"lift": Difference(0.0, -0.05, 0.05)}},
        {"judged_until": None},
        {"judged_until": "2024-03-13"},
    ],
    ids=[
        "margins themselves",
        "a small slice",
        "a slice at its margin",
        "a slice of the label",
        "lift at its margin",
        "same run",
        "later days",
    ],
)
def test_what_is_within_its_margin_does_not_stop_it(against):
    assert judge(evidence(), reference(**against), CONFIG).status == "pass"


def test_a_slice_of_too_few_users_is_told_of_and_not_judged():
    *_, part = one_slice(rows=9000, low=5.0)
    untold = replace(part, difference=Difference(5.1, None, None))
    found = judge(evidence(), reference(slices=(*reference().slices, untold)), CONFIG)
    (check,) = (check for check in found.checks if check.name == "slices")
    assert check.status == "pass" and check.found.endswith("slices is harmed; 1 of too few users not judged")


def test_several_reasons_are_all_named():
    found = judge(evidence(validation=("fail", "no")), reference(test={"aa_p": 0.0}), CONFIG)
    assert found.text.endswith("2 of 13 checks do not hold against v1 (gr_finetuned), in production: validation, A/A.")


def test_drift_that_fails_may_be_allowed_by_configuration():
    config = CONFIG.model_copy(update={"drift": ["pass", "warn", "fail"]})
    assert judge(evidence(drift=("fail", "much")), reference(), config).status == "pass"


def test_a_first_version_that_is_the_baseline_is_judged_by_itself():
    assert judge(evidence(), None, CONFIG).status == "pass"
    found = judge(evidence(drift=("fail", "much")), None, CONFIG)
    assert found.status == "fail" and found.checks[-1].status == "info"


@pytest.mark.parametrize(
    "change, message",
    [("min_lift: 2", r"min_lift: .*less than 1"), ("max_lift: 1", r"max_lift: unknown parameter")],
)
def test_a_wrong_threshold_is_an_error_that_names_file_and_key(tmp_path, change, message):
    path = tmp_path / "promote.yaml"
    lines = [f"{key}: {value}" for key, value in CONFIG.model_dump().items() if key != change.split(":")[0]]
    path.write_text("\n".join([*lines, change]))
    with pytest.raises(ConfigError, match=rf"promote.yaml.{message}"):
        read_gate_config(path)
