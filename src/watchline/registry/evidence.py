"""What the gate judges by: the line's reports, and a comparison of candidate and reference on the same eval rows.

The comparison is a folder in which the stages evaluate and abtest ran with the models `candidate` and `reference`:
COMPARISON/data/{candidate,reference}.parquet, data/slices/eval.parquet, reports/{evaluate,abtest}/metrics.json.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from watchline.report import read_json

CANDIDATE, REFERENCE = "candidate", "reference"
COMPARED = ("mae_s", "xauc")
Window = tuple[str, str]  # first and last eval day; the first is empty where a report has no eval days of its own


@dataclass(frozen=True)
class Measured:
    """One model on the eval rows; None for a metric that is not defined there."""

    rows: int
    mae_s: float
    xauc: float | None
    calibration: float | None
    rmse_s: float


@dataclass(frozen=True)
class Difference:
    """Candidate minus reference, with its paired 95 % interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class SliceDifference:
    """MAE of one bucket of a slice: the reference's, and what the candidate differs by. Seconds."""

    title: str
    bucket: str
    rows: int
    reference_mae_s: float
    difference: Difference


@dataclass(frozen=True)
class SimulatedTest:
    """The simulated test of the candidate (treatment) against the reference (control)."""

    environment: str
    window: Window
    status: str
    text: str
    lift: Difference
    sample_ratio_p: float
    aa_p: float | None
    aa_sample_ratio_p: float
    false_positive_rate: float
    false_positive_band: tuple[float, float]


@dataclass(frozen=True)
class Evidence:
    """The candidate by itself: what was measured now and what reports/evaluate says, and verdicts on its data.

    `windows`: eval days of each report; `validation` and `drift`: status and sentence.
    """

    model: str
    measured: Measured
    reported: Measured | None
    windows: dict[str, Window]
    validation: tuple[str, str]
    drift: tuple[str, str]


@dataclass(frozen=True)
class Reference:
    """What the candidate would replace, and how they differ on the same rows.

    `judged_until`: last eval day of its own promotion; None for a model of the same run as the candidate.
    """

    label: str
    judged_until: str | None
    measured: Measured
    differences: dict[str, Difference]
    slices: tuple[SliceDifference, ...]
    test: SimulatedTest


def read_evidence(model: str, reports: Path, comparison: Path) -> Evidence:
    """The candidate's evidence: the line's `reports` and the comparison; raises ValueError naming what is missing."""
    now = read_json(comparison / "reports/evaluate/metrics.json", ["models", "window"])
    then = read_json(reports / "evaluate/metrics.json", ["models", "window"])
    validation = read_json(reports / "validate/metrics.json", ["verdict", "window"])
    drift = read_json(reports / "drift/metrics.json", ["verdict", "window"])
    drifted = drift["window"]["eval"]
    return Evidence(
        model,
        _measured(now["models"][CANDIDATE]),
        _measured(then["models"][model]) if model in then["models"] else None,
        {
            "candidate": (now["window"]["eval_first"], now["window"]["eval_last"]),
            "evaluate": (then["window"]["eval_first"], then["window"]["eval_last"]),
            "drift": (drifted["first"], drifted["last"]),
            "validate": ("", validation["window"]["end"]),
        },
        (validation["verdict"]["status"], validation["verdict"]["text"]),
        (drift["verdict"]["status"], drift["verdict"]["text"]),
    )


def read_reference(
    label: str, judged_until: str | None, comparison: Path, titles: Sequence[str], replicates: int, seed: int = 1
) -> Reference:
    """The comparison's evidence on the reference; `titles`: slices to compare in."""
    evaluated = read_json(comparison / "reports/evaluate/metrics.json", ["models", "differences"])
    differences = evaluated["differences"][CANDIDATE]
    return Reference(
        label,
        judged_until,
        _measured(evaluated["models"][REFERENCE]),
        {metric: Difference(**differences[metric]) for metric in COMPARED},
        tuple(compare_slices(comparison / "data", titles, replicates, seed)),
        _read_test(comparison / "reports/abtest/metrics.json"),
    )


def compare_slices(predictions: Path, titles: Sequence[str], replicates: int, seed: int) -> list[SliceDifference]:
    """MAE of candidate and reference in every bucket of the slices `titles`, paired by row, drawn by user.

    Raises ValueError when the two files are not of the same rows.
    """
    # Here, because torch comes with them, and this is the one step that takes long anyhow.
    from watchline.data.tables import read_parquet
    from watchline.evaluation.measure import STATISTIC, STATISTICS
    from watchline.evaluation.sliced_rows import ROW, from_table
    from watchline.metrics import paired_bootstrap

    mine, other = (read_parquet(predictions / f"{name}.parquet") for name in (CANDIDATE, REFERENCE))
    sliced = read_parquet(predictions / "slices/eval.parquet")
    keys = mine.columns[: mine.columns.index(STATISTICS[0])]
    if not mine.select(keys).equals(other.select(keys)) or not mine[ROW].equals(sliced[ROW]):
        raise ValueError(f"{predictions}: candidate, reference and slices are not of the same rows; compare them anew")
    label, user = mine[keys[-1]].to_numpy(), mine["user_id"].to_numpy()
    medians = [frame[STATISTIC["mae_s"]].to_numpy() for frame in (mine, other)]
    found = []
    for part in (each for each in from_table(sliced) if each.title in titles):
        for number, bucket in enumerate(part.names):
            rows = part.bucket == number
            if not rows.any():
                continue
            mine_B, other_B = (values[rows] for values in medians)
            interval = paired_bootstrap("mae_s", label[rows], mine_B, other_B, user[rows], replicates, seed)
            mae_s = float(abs(other_B - label[rows]).mean())
            ends = (end if math.isfinite(end) else None for end in (interval.low, interval.high))
            difference = Difference(interval.value, *ends)
            found.append(SliceDifference(part.title, bucket, int(rows.sum()), mae_s, difference))
    return found


def _measured(values: dict[str, Any]) -> Measured:
    return Measured(values["rows"], values["mae_s"], values["xauc"], values["calibration"], values["rmse_s"])


def _read_test(path: Path) -> SimulatedTest:
    values = read_json(path, ["both_arms", "aa", "srm_p", "verdict", "window"])
    both, aa = values["both_arms"], values["aa"]
    band = aa["false_positive_band"]
    return SimulatedTest(
        environment=values["environment"],
        window=(values["window"]["eval_first"], values["window"]["eval_last"]),
        status=values["verdict"]["status"],
        text=values["verdict"]["text"],
        lift=Difference(both["lift"], both["interval"]["low"], both["interval"]["high"]),
        sample_ratio_p=values["srm_p"],
        aa_p=aa["p_value"],
        aa_sample_ratio_p=aa["srm_p"],
        false_positive_rate=aa["false_positive_rate"],
        false_positive_band=(band["low"], band["high"]),
    )
