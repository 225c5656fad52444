"""Estimates as plain numbers for metrics.json; a bound that the data cannot give is null."""

from __future__ import annotations

import math
from typing import Any

from watchline.experiment import statistics as st


def number(value: float) -> float | None:
    """The value, None where it is not finite."""
    return float(value) if math.isfinite(value) else None


def estimate(found: st.Estimate | None, name: str) -> dict[str, Any]:
    """An estimate whose value is called `name`; all is null where there is none."""
    values = vars(found) if found else dict.fromkeys(("value", "low", "high", "p_value"), math.nan)
    plain = {key: number(value) for key, value in values.items()}
    return {name: plain["value"], "interval": {"low": plain["low"], "high": plain["high"]}, "p_value": plain["p_value"]}


def comparison(found: st.Comparison) -> dict[str, Any]:
    """A quantity in both arms: its means, difference and lift; the p-value is that of the lift."""
    difference = estimate(found.difference, "value")
    means = {"control": found.control, "treatment": found.treatment, "difference": difference}
    return {**means, **estimate(found.lift, "lift")}


def guardrail(found: st.Guardrail) -> dict[str, Any]:
    """A guardrail with its verdict, and its reason where there is one."""
    kept: dict[str, Any] = {"better": found.better, "margin": found.margin, "verdict": found.verdict}
    kept |= {"reason": found.reason} if found.reason else {}
    return {**kept, **comparison(found.comparison)}
