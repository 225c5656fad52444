"""Evidence of a candidate that passes the gate of conf/promote.yaml, for tests that take away one thing at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from watchline.registry.__main__ import read_gate_config
from watchline.registry.evidence import Difference, Evidence, Measured, Reference, SimulatedTest, SliceDifference

CONFIG = read_gate_config(Path(__file__).resolve().parents[2] / "conf/promote.yaml")
DAYS = ("2024-03-13", "2024-03-14")
MEASURED = Measured(rows=20_000, mae_s=18.0, xauc=0.70, calibration=0.95, rmse_s=39.0)
TEST = SimulatedTest(
    environment="oracle",
    window=DAYS,
    status="info",
    text="Cannot tell candidate from reference.",
    lift=Difference(0.02, 0.01, 0.03),
    sample_ratio_p=0.4,
    aa_p=0.6,
    aa_sample_ratio_p=0.5,
    false_positive_rate=0.05,
    false_positive_band=(0.015, 0.095),
)


def evidence(**changes: Any) -> Evidence:
    """A good candidate, with `changes`."""
    windows = {"candidate": DAYS, "evaluate": DAYS, "drift": DAYS, "validate": ("", DAYS[1])}
    good = Evidence("gr_finetuned", MEASURED, MEASURED, windows, ("pass", "all hold"), ("warn", "some drifted"))
    return replace(good, **changes)


def reference(test: dict[str, Any] | None = None, **changes: Any) -> Reference:
    """A reference that the good candidate may replace; `test`: changes of the simulated test."""
    slices = tuple(
        SliceDifference(title, bucket, 5000, 18.0, Difference(-0.1, -0.3, 0.1))
        for title in CONFIG.slices
        for bucket in ("low", "high")
    )
    differences = {"mae_s": Difference(-0.1, -0.2, 0.05), "xauc": Difference(0.002, -0.001, 0.005)}
    good = Reference(
        "v1 (gr_finetuned), in production", DAYS[1], MEASURED, differences, slices, replace(TEST, **(test or {}))
    )
    return replace(good, **changes)


def one_slice(rows: int, low: float, title: str = "User activity") -> tuple[SliceDifference, ...]:
    """The good slices and one more, whose difference in MAE is at least `low` seconds."""
    return (*reference().slices, SliceDifference(title, "0", rows, 10.0, Difference(low + 0.1, low, low + 0.2)))
