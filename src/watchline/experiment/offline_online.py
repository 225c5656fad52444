"""What offline metrics say of the order that lifts are in: rank correlation, and the pairs of models they get wrong."""

# M models, R draws of users, P pairs of models

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watchline.experiment.statistics.rank_correlation import kendall, spearman
from watchline.report.metric_words import DISTANCE

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

METRICS = ("mae_s", "rmse_s", "calibration", "xauc", "gauc")
TITLES = {"mae_s": "MAE", "rmse_s": "RMSE", "calibration": "calibration", "xauc": "XAUC", "gauc": "GAUC"}
SHOWN = {"mae_s": "{:.3f} s", "rmse_s": "{:.3f} s", "calibration": "{:.3f}", "xauc": "{:.4f}", "gauc": "{:.4f}"}


@dataclass(frozen=True)
class Draws:
    """A number of each model (M,) on the users as they are, and on each draw of them (R, M)."""

    value_M: Floats
    draws_RM: Floats


def quality(metric: str, values: Floats) -> Floats:
    """A metric turned so that more is better, whatever its shape: its distance from ideal (DISTANCE), negated."""
    with np.errstate(invalid="ignore"):
        distance: Floats = np.vectorize(DISTANCE[metric], otypes=[np.float64])(values)
    return np.where(np.isnan(values), np.nan, -distance)  # DISTANCE calls an unknown calibration the worst there is


def correlate(metric: str, offline: Draws, online: Draws) -> dict[str, Any]:
    """Spearman's rho and Kendall's tau-b between quality and lift over the models, with 95 % intervals by users.

    1: the metric orders the models as their lifts do. The interval is of percentiles over the draws of users (Efron &
    Tibshirani, 1993, chapter 13) and holds the models fixed: another set of models gives another correlation. None
    where the metric is undefined or all models are equal.
    """
    found: dict[str, Any] = {"metric": metric}
    for name, correlation in (("spearman", spearman), ("kendall", kendall)):
        value = correlation(quality(metric, offline.value_M)[None], online.value_M[None])[0]
        draws_R = correlation(quality(metric, offline.draws_RM), online.draws_RM)
        known_R = draws_R[np.isfinite(draws_R)]
        bounds = np.percentile(known_R, [2.5, 97.5]) if len(known_R) else (np.nan, np.nan)
        for key, number in zip((name, f"{name}_low", f"{name}_high"), (value, *bounds), strict=True):
            found[key] = float(number) if np.isfinite(number) else None
    return found


def find_missed(metric: str, names: Sequence[str], offline: Draws, online: Draws) -> dict[str, Any]:
    """How often a metric and the lift order two models the other way round, the worst such pair, and a sentence.

    A pair counts where the 95 % interval of its paired difference, over the draws of users, leaves out 0: `told_apart`
    in both, `reversed` in both but in other directions, `blind` in the metric only.
    """
    first, second = np.triu_indices(len(names), 1)
    side_P = _side(quality(metric, offline.draws_RM), first, second)
    lift_P = _side(online.draws_RM, first, second)
    reversed_P = side_P * lift_P < 0
    counts = {
        "told_apart": int((side_P * lift_P != 0).sum()),
        "reversed": int(reversed_P.sum()),
        "blind": int(((side_P != 0) & (lift_P == 0)).sum()),
    }
    worst = None
    if counts["reversed"]:
        gap_P = np.where(reversed_P, np.abs(online.value_M[first] - online.value_M[second]), -1.0)
        pair = int(gap_P.argmax())
        better, worse = (first[pair], second[pair]) if side_P[pair] > 0 else (second[pair], first[pair])
        worst = {"better_offline": _model(names, int(better), offline, online)}
        worst["worse_offline"] = _model(names, int(worse), offline, online)
    return {"metric": metric, **counts, "worst": worst, "text": sentence(metric, counts, worst)}


def sentence(metric: str, counts: dict[str, int], worst: dict[str, Any] | None) -> str:
    """What one metric missed, in words."""
    blind = f" It tells {counts['blind']} pairs apart whose lifts cannot be told apart." if counts["blind"] else ""
    if worst is None:
        agree = f"the {counts['told_apart']} pairs of models that it and the lift tell apart are in the same order"
        return f"{TITLES[metric]} reverses nothing here: {agree}.{blind}"
    a, b = worst["better_offline"], worst["worse_offline"]
    values = [SHOWN[metric].format(model["value"]) for model in (a, b)]
    return (
        f"{TITLES[metric]} prefers `{a['model']}` to `{b['model']}` ({values[0]} against {values[1]}), whose lift is "
        f"higher ({b['lift']:+.2%} against {a['lift']:+.2%}); it reverses {counts['reversed']} of the "
        f"{counts['told_apart']} pairs that it and the lift tell apart.{blind}"
    )


def _side(draws_RM: Floats, first: NDArray[np.intp], second: NDArray[np.intp]) -> NDArray[np.int64]:
    """1, -1 or 0 (P,): whether the first of a pair has more, less, or cannot be told from the second."""
    low_P, high_P = np.percentile(draws_RM[:, first] - draws_RM[:, second], [2.5, 97.5], axis=0)
    return (low_P > 0).astype(np.int64) - (high_P < 0).astype(np.int64)


def _model(names: Sequence[str], number: int, offline: Draws, online: Draws) -> dict[str, Any]:
    value, lift = float(offline.value_M[number]), float(online.value_M[number])
    return {"model": names[number], "value": value, "lift": lift}
