"""The gate: what a candidate must hold to become production, as a pure function of evidence and thresholds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from watchline.config import Config
from watchline.registry.evidence import Difference, Evidence, Reference, SliceDifference

Status = Literal["pass", "fail", "info"]


class GateConfig(Config):
    """The whole of conf/promote.yaml."""

    candidate: str = Field(min_length=1, description="folder of models/ that is judged unless another is asked for")
    baseline: str = Field(min_length=1, description="folder of models/ that the first version is held against")
    min_lift: float = Field(gt=-1, lt=1, description="lower end of the simulated lift over the reference")
    min_sample_ratio_p: float = Field(ge=0, lt=1)
    min_aa_p: float = Field(ge=0, lt=1)
    max_mae_rise: float = Field(ge=0, description="upper end of the difference, as a share of the reference's MAE")
    max_xauc_fall: float = Field(ge=0, le=1, description="lower end of the difference, downwards")
    max_calibration_error: float = Field(gt=0, description="of mean prediction / mean watch time, from 1, both ways")
    drift: list[Literal["pass", "warn", "fail"]] = Field(min_length=1, description="verdicts of drift that may pass")
    slices: list[str] = Field(description="titles of evaluate's slices")
    slice_min_rows: int = Field(ge=2, description="a smaller slice is not judged")
    slice_max_mae_rise: float = Field(ge=0, description="lower end of a slice's difference, as a share of its MAE")
    replicates: int = Field(ge=100, le=100_000, description="draws of the bootstrap by user within a slice")


@dataclass(frozen=True)
class Check:
    """One reason for or against: its name, whether it holds (info: nothing to say), what was found, and the rule."""

    name: str
    status: Status
    found: str
    rule: str


@dataclass(frozen=True)
class Judgement:
    """The verdict with every reason; it is `fail` when one check fails."""

    status: Status
    text: str
    checks: tuple[Check, ...]


def judge(candidate: Evidence, reference: Reference | None, config: GateConfig) -> Judgement:
    """Hold the candidate against what it would replace, on the same rows; without a reference only by itself."""
    checks = tuple(_checks(candidate, reference, config))
    failed = [check.name for check in checks if check.status == "fail"]
    against = f" against {reference.label}" if reference else ""
    if failed:
        held = f"{len(failed)} of {len(checks)} checks do not hold{against}: {', '.join(failed)}."
        return Judgement("fail", f"Do not promote {candidate.model}: {held}", checks)
    told = sum(check.status == "pass" for check in checks)
    return Judgement("pass", f"Promote {candidate.model}: all {told} checks hold{against}.", checks)


def _checks(candidate: Evidence, reference: Reference | None, config: GateConfig) -> Iterator[Check]:
    yield _same_window(candidate, reference)
    yield _same_rows(candidate)
    status, text = candidate.validation
    yield _check("validation", status != "fail", text, "the validate stage does not fail")
    status, text = candidate.drift
    rule = f"the drift stage says {' or '.join(config.drift)}"
    yield _check("drift", status in config.drift, f"{status}: {text}", rule)
    yield _calibration(candidate, config)
    if reference is None:
        yield Check("comparison", "info", "the candidate is the baseline, and nothing is in production", "")
        return
    yield _unseen(candidate, reference)
    yield _mae(reference, config)
    yield _xauc(reference, config)
    yield _slices(reference.slices, config)
    yield from _test(reference, config)


def _check(name: str, holds: bool, found: str, rule: str) -> Check:
    return Check(name, "pass" if holds else "fail", found, rule)


def _same_window(candidate: Evidence, reference: Reference | None) -> Check:
    windows = dict(candidate.windows) | ({"test": reference.test.window} if reference else {})
    last = {name: window[1] for name, window in windows.items()}
    first = {name: windows[name][0] for name in ("candidate", "evaluate", "drift")}
    holds = len(set(last.values())) == 1 and len(set(first.values())) == 1
    found = "; ".join(f"{name} {first or 'up'} to {last}" for name, (first, last) in windows.items())
    if holds:
        found = f"{windows['candidate'][0]} to {windows['candidate'][1]}"
    return _check("window", holds, found, "all reports are of the same eval days; else run the line anew (`dvc repro`)")


def _same_rows(candidate: Evidence) -> Check:
    """The report of evaluate and the comparison must have measured the same model on the same rows."""
    now, then = candidate.measured, candidate.reported
    rule = "reports/evaluate measured the same model on the same rows; else run the line anew (`dvc repro`)"
    if then is None:
        return Check("same rows", "fail", f"reports/evaluate has no {candidate.model}", rule)
    holds = now.rows == then.rows and math.isclose(now.mae_s, then.mae_s, rel_tol=1e-4)
    found = f"{then.rows:,} rows, MAE {then.mae_s:.4f} s in reports/evaluate; {now.rows:,}, {now.mae_s:.4f} s here"
    return _check("same rows", holds, found, rule)


def _unseen(candidate: Evidence, reference: Reference) -> Check:
    """A model of later days may have been trained on the eval days of an earlier candidate (a backfill)."""
    last, until = candidate.windows["candidate"][1], reference.judged_until
    found = (
        "of the same run" if until is None else f"the reference was judged until {until}, the candidate until {last}"
    )
    rule = "the reference is of no later days, so that it was not trained on these rows"
    return _check("unseen rows", until is None or until <= last, found, rule)


def _calibration(candidate: Evidence, config: GateConfig) -> Check:
    low, high = 1 - config.max_calibration_error, 1 + config.max_calibration_error
    value = candidate.measured.calibration
    rule = f"mean prediction / mean watch time is {low:.2f} to {high:.2f}"
    if value is None:
        return Check("calibration", "fail", "not defined: nothing was watched", rule)
    return _check("calibration", low <= value <= high, f"{value:.3f}", rule)


def _mae(reference: Reference, config: GateConfig) -> Check:
    margin = config.max_mae_rise * reference.measured.mae_s
    whole = f"{config.max_mae_rise:.1%} of the reference's {reference.measured.mae_s:.3f} s"
    rule = f"upper end at most {margin:+.3f} s, {whole}"
    found = reference.differences["mae_s"]
    return _check("MAE", found.high is not None and found.high <= margin, _span(found, "+.3f", " s"), rule)


def _xauc(reference: Reference, config: GateConfig) -> Check:
    found = reference.differences["xauc"]
    rule = f"lower end at least {-config.max_xauc_fall:+.4f}"
    return _check("XAUC", found.low is not None and found.low >= -config.max_xauc_fall, _span(found, "+.4f"), rule)


def _slices(slices: tuple[SliceDifference, ...], config: GateConfig) -> Check:
    """A slice is harmed where its whole interval is beyond the margin: of many small ones, some are worse by chance.

    One of too few users to have an interval is told of and not judged.
    """
    large = [part for part in slices if part.rows >= config.slice_min_rows and part.title in config.slices]
    judged = [part for part in large if part.difference.low is not None]
    untold = f"; {len(large) - len(judged)} of too few users not judged" if len(judged) < len(large) else ""
    rule = (
        f"in no slice of {config.slice_min_rows:,} rows or more is the lower end of the MAE's difference above "
        f"{config.slice_max_mae_rise:.1%} of the reference's MAE there"
    )
    absent = sorted(set(config.slices) - {part.title for part in slices})
    if absent:
        return Check("slices", "fail", f"evaluate has no slices {', '.join(absent)}", rule)
    harmed = [
        part
        for part in judged
        if part.difference.low is not None and part.difference.low > config.slice_max_mae_rise * part.reference_mae_s
    ]
    if not harmed:
        return Check("slices", "pass", f"none of {len(judged)} slices is harmed{untold}", rule)
    parts = [f"{part.title.lower()}, {part.bucket}: {_span(part.difference, '+.3f', ' s')}" for part in harmed]
    return Check("slices", "fail", "; ".join(parts) + untold, rule)


def _test(reference: Reference, config: GateConfig) -> Iterator[Check]:
    test = reference.test
    rule = f"p of the users' counts at least {config.min_sample_ratio_p:g}, in the test and in A/A"
    holds = min(test.sample_ratio_p, test.aa_sample_ratio_p) >= config.min_sample_ratio_p
    found = f"p = {test.sample_ratio_p:.4f}, in A/A {test.aa_sample_ratio_p:.4f}"
    yield _check("sample ratio", holds, found, rule)
    low, high = test.false_positive_band
    clean = test.aa_p is not None and test.aa_p >= config.min_aa_p and low <= test.false_positive_rate <= high
    p_value = "unknown" if test.aa_p is None else f"{test.aa_p:.4f}"
    rule = f"p of the reference against itself at least {config.min_aa_p:g}, false positives {low:.1%} to {high:.1%}"
    yield _check("A/A", clean, f"p = {p_value}, false positives {test.false_positive_rate:.1%}", rule)
    yield _check("A/B", test.status not in ("fail", "warn"), test.text, "the test does not speak against the candidate")
    rule = f"lower end of the lift of users in both arms at least {config.min_lift:+.2%} ({test.environment})"
    lift = test.lift
    yield _check("lift", lift.low is not None and lift.low >= config.min_lift, _span(lift, "+.2%"), rule)


def _span(found: Difference, spec: str, unit: str = "") -> str:
    if found.value is None or found.low is None or found.high is None:
        return "no interval: not defined on these rows, or too few users"
    return f"{found.value:{spec}}{unit}, 95 % interval {found.low:{spec}} to {found.high:{spec}}{unit}"
