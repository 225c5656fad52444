"""What may go wrong with a model, read off the run's own numbers: each with the threshold it is judged by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from watchline.data.splits import Window
from watchline.overview.reading import Metrics, Run, look_up

MOST_MISCALIBRATION = 0.05  # of mean prediction over mean watch time from 1
MOST_COVERAGE_ERROR = 0.03  # of 80 % intervals
FEW_DAYS, FEW_ROWS = 3, 200  # eval days; rows of a slice that is spoken of
WEAK_XAUC = 0.05  # below the overall one


@dataclass(frozen=True)
class Limit:
    """One caution: `status` is warn where a threshold is passed, pass where it is kept, info where there is none."""

    status: str
    what: str
    finding: str


def limits(name: str, run: Run, window: Window) -> list[Limit]:
    """All of one model, those that passed a threshold first."""
    evaluation = run.stages["evaluate"]
    values = evaluation["models"][name]
    found = [*_trust(values), *_weak_slices(name, evaluation), *_drift(name, run.stages["drift"]), *_scope(run, window)]
    return sorted(found, key=lambda limit: ("warn", "info", "pass").index(limit.status))


def _trust(values: Metrics) -> Iterator[Limit]:
    ratio = values.get("calibration")
    if ratio is not None:
        status = "warn" if abs(ratio - 1) > MOST_MISCALIBRATION else "pass"
        words = f"Mean prediction over mean watch time is {ratio:.3f}; up to {MOST_MISCALIBRATION:.0%} from 1 is good."
        yield Limit(status, "calibration", words)
    coverage = look_up(values, "interval_80.coverage_pit")
    if coverage is None:
        words = "It gives no quantiles: there are no intervals around its predictions."
        yield Limit("info", "prediction intervals", words)
        return
    status = "warn" if abs(coverage - 0.8) > MOST_COVERAGE_ERROR else "pass"
    yield Limit(status, "prediction intervals", f"80 % intervals hold {coverage:.1%} of the watch times.")


def _weak_slices(name: str, evaluation: Metrics) -> Iterator[Limit]:
    """Slices of enough rows that it orders much worse than the eval rows as a whole."""
    overall = evaluation["models"][name].get("xauc")
    if overall is None:
        return
    for part in evaluation.get("slices", []):
        if part["title"] == "Watch time":  # cut by the label: order within is hard by making
            continue
        for row in part["rows"]:
            value = row["xauc"].get(name)
            if row["rows"] >= FEW_ROWS and value is not None and value < overall - WEAK_XAUC:
                where = f"{part['title'].lower()}: {row['bucket']}"
                words = f"XAUC {value:.3f} on {row['rows']:,} rows; {overall:.3f} over all."
                yield Limit("warn", where, words)


def _drift(name: str, drift: Metrics) -> Iterator[Limit]:
    drifted = [
        each["name"].replace("_", " ")
        for each in drift.get("windows", [])
        if (each["of"], each["reference"], each["current"]) == (name, "train", "eval") and each["drifted"]
    ]
    if drifted:
        yield Limit("warn", "drift of its predictions", f"Past their thresholds: {', '.join(drifted)}.")
    share = drift.get("share_drifted")
    if share is not None:
        status = "warn" if drift["verdict"]["status"] in ("warn", "fail") else "pass"
        yield Limit(
            status, "drift of its inputs", f"{share:.0%} of the feature columns moved between training and eval."
        )


def _scope(run: Run, window: Window) -> Iterator[Limit]:
    if look_up(run.stages["ingest"], "source") == "synthetic":
        words = "The log is generated: the figures test the line and say nothing about people."
        yield Limit("warn", "data", words)
    if window.rows is None and window.eval_days < FEW_DAYS:
        words = f"{window.eval_days} eval days: a week's rhythm and slow change do not show."
        yield Limit("info", "eval days", words)
    words = "One fit with one seed; `make leaderboard` measures the spread over seeds."
    yield Limit("info", "seeds", words)
    words = "Videos were chosen by the policy that wrote the log: errors on what it would not show are unknown."
    yield Limit("info", "exposure bias", words)
