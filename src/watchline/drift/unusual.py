"""How unusual a row's inputs are beside the training rows, and how much worse models do where they are."""

# N rows, n training rows, C columns

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from watchline.drift.compare import Plan

Floats = NDArray[np.float64]


def unusualness(train: pl.DataFrame, rows: pl.DataFrame, plan: Plan) -> Floats:
    """Mean over the compared columns of a row's surprisal -log p (N,), nats: 0 where all is as usual as can be.

    p of a category is its share of the training rows. p of a number is the two-sided empirical tail
    2 min(F(x), 1 - F(x-)), at most 1, times the share of rows with a value. A missing value has the share of missing
    ones. p is at least 1 / (n + 1). Columns count alike and as if independent: a score to sort by, no probability.
    """
    surprisals = [_of_number(train[name], rows[name]) for name in plan.numeric]
    surprisals += [_of_category(train[name], rows[name]) for name in plan.categorical]
    return np.mean(surprisals, axis=0)


def _of_number(train: pl.Series, rows: pl.Series) -> Floats:
    known = np.sort(train.drop_nulls().cast(pl.Float64).to_numpy())
    value_N = rows.cast(pl.Float64).fill_null(np.nan).to_numpy()
    upto_N = np.searchsorted(known, value_N, side="right") / len(known)
    below_N = np.searchsorted(known, value_N, side="left") / len(known)
    tail_N = np.minimum(1.0, 2 * np.minimum(upto_N, 1 - below_N)) * len(known) / len(train)
    missing = 1 - len(known) / len(train)
    return _surprisal(np.where(np.isnan(value_N), missing, tail_N), len(train))


def _of_category(train: pl.Series, rows: pl.Series) -> Floats:
    counts = train.rename("value").value_counts(sort=False, name="count")
    joined = (
        rows.rename("value").to_frame().join(counts, on="value", how="left", maintain_order="left", nulls_equal=True)
    )
    return _surprisal(joined["count"].fill_null(0).to_numpy() / len(train), len(train))


def _surprisal(share_N: Floats, num_train: int) -> Floats:
    surprisal: Floats = -np.log(np.maximum(share_N, 1 / (num_train + 1)))
    return surprisal


def errors_by_decile(
    unusual_N: Floats, label_s: Floats, median_s: Mapping[str, Floats], num_parts: int = 10
) -> list[dict[str, Any]]:
    """Rows (N,) cut by rising unusualness into parts of equal size: rows, mean unusualness, mean label, MAE by model.

    `relative`: MAE over that of the same rows predicted by one number, the median label of all rows: long plays are
    hard for everyone, and a part with more of them is not worse predicted for that.
    """
    naive_N = np.abs(label_s - np.median(label_s))
    parts = []
    for number, part in enumerate(np.array_split(np.argsort(unusual_N, kind="stable"), num_parts), start=1):
        if not len(part):
            continue
        mae = {name: float(np.abs(values[part] - label_s[part]).mean()) for name, values in median_s.items()}
        naive = float(naive_N[part].mean())
        parts.append(
            {
                "part": number,
                "rows": len(part),
                "unusualness": float(unusual_N[part].mean()),
                "mean_s": float(label_s[part].mean()),
                "models": [
                    {"model": name, "mae_s": value, "relative": value / naive if naive else None}
                    for name, value in mae.items()
                ],
            }
        )
    return parts
