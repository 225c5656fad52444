"""Drift between two samples of rows by Evidently, with the method and the threshold of every column stated.

Only distances are offered: a p-value shrinks with the number of rows, so that any difference is 'drift' on a large log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
from pydantic import Field, model_validator

from watchline.config import Config
from watchline.data.columns import Columns

MISSING = "(missing)"


class NumericTest(Config):
    """Distance of two samples of numbers; at or above the threshold is drift."""

    method: Literal["wasserstein", "jensenshannon", "psi", "hellinger"]
    threshold: float = Field(gt=0)


class CategoricalTest(Config):
    """Distance of two samples of categories; at or above the threshold is drift."""

    method: Literal["jensenshannon", "psi", "hellinger"]
    threshold: float = Field(gt=0)


class DriftConfig(Config):
    """Section `drift` of params.yaml."""

    max_rows: int = Field(ge=100, description="rows per side given to Evidently, evenly spaced in time order")
    numeric: NumericTest
    categorical: CategoricalTest
    target: NumericTest
    prediction: NumericTest
    max_categories: int = Field(ge=2, description="distinct values above which a categorical column is an id")
    exclude: list[str] = Field(description="feature columns that are not compared")
    warn_share: float = Field(gt=0, le=1, description="share of drifted columns from which the verdict is a warning")
    fail_share: float = Field(gt=0, le=1, description="share of drifted columns from which the verdict is a failure")
    worst_columns: int = Field(ge=0, le=24, description="columns whose distributions are drawn")

    @model_validator(mode="after")
    def _warn_before_fail(self) -> DriftConfig:
        if self.fail_share < self.warn_share:
            raise ValueError(f"fail_share must be at least warn_share, {self.warn_share}")
        return self


@dataclass(frozen=True)
class Plan:
    """Which columns are compared by distance, which are ids (compared by unseen share), which are not, and why."""

    numeric: list[str]
    categorical: list[str]
    ids: list[str]
    left_out: dict[str, str]


@dataclass(frozen=True)
class ColumnDrift:
    """Distance of one column between the reference and the current rows, and Evidently's judgement of it."""

    name: str
    kind: str
    method: str
    threshold: float
    value: float
    drifted: bool
    missing_reference: float = 0.0
    missing_current: float = 0.0

    @property
    def strength(self) -> float:
        """The distance as a multiple of its threshold, to compare columns of different methods."""
        return self.value / self.threshold


def plan_columns(reference: pl.DataFrame, current: pl.DataFrame, columns: Columns, config: DriftConfig) -> Plan:
    """Sort the feature columns by how they can be compared on these samples.

    Raises ValueError for a name in `exclude` that is no feature column.
    """
    features = [*columns.categorical, *columns.numeric]
    unknown = sorted(set(config.exclude) - set(features))
    if unknown:
        raise ValueError(f"drift.exclude: {', '.join(unknown)} is no feature column; there are {', '.join(features)}")
    plan = Plan([], [], [], {})
    for name in features:
        if name in config.exclude:
            plan.left_out[name] = "excluded by drift.exclude"
        elif reference[name].null_count() == len(reference):
            plan.left_out[name] = "no value on the training days"
        elif name in columns.numeric and current[name].null_count() == len(current):
            plan.left_out[name] = "no value on the eval days"
        elif name in columns.numeric:
            plan.numeric.append(name)
        elif reference[name].n_unique() > config.max_categories:
            plan.ids.append(name)
        else:
            plan.categorical.append(name)
    if not plan.numeric and not plan.categorical:
        raise ValueError(f"no feature column can be compared: {plan.left_out}, ids {plan.ids}; see drift.*")
    return plan


def compare_features(
    reference: pl.DataFrame, current: pl.DataFrame, plan: Plan, label: str, config: DriftConfig
) -> tuple[list[ColumnDrift], ColumnDrift, str]:
    """Drift of every planned column, strongest first; of the label; and Evidently's own HTML page.

    `reference` and `current` are samples with the planned columns and `label`. The page's random ids are replaced by
    numbers, so equal samples give equal bytes.
    """
    from evidently.metrics import ValueDrift
    from evidently.presets import DataDriftPreset

    features = DataDriftPreset(
        columns=[*plan.numeric, *plan.categorical],
        num_method=config.numeric.method,
        num_threshold=config.numeric.threshold,
        cat_method=config.categorical.method,
        cat_threshold=config.categorical.threshold,
        drift_share=config.warn_share,
    )
    target = ValueDrift(column=label, method=config.target.method, threshold=config.target.threshold)
    numeric = [*plan.numeric, label]
    snapshot = _run([features, target], reference, current, numeric, plan.categorical)
    found = _judged(snapshot, reference, current, numeric, plan.categorical)
    of_features = sorted((drift for drift in found if drift.name != label), key=lambda d: (-d.strength, d.name))
    of_label = next(drift for drift in found if drift.name == label)
    return of_features, of_label, mask_ids(snapshot.get_html_str(as_iframe=False))


def compare_columns(
    reference: pl.DataFrame, current: pl.DataFrame, plan: Plan, label: str, config: DriftConfig
) -> list[ColumnDrift]:
    """Drift of every planned column and of the label, without a page."""
    from evidently.metrics import ValueDrift

    tests: dict[str, NumericTest | CategoricalTest] = dict.fromkeys(plan.numeric, config.numeric)
    tests |= dict.fromkeys(plan.categorical, config.categorical) | {label: config.target}
    items = [ValueDrift(column=name, method=test.method, threshold=test.threshold) for name, test in tests.items()]
    numeric = [*plan.numeric, label]
    snapshot = _run(items, reference, current, numeric, plan.categorical)
    return _judged(snapshot, reference, current, numeric, plan.categorical)


def compare_numbers(reference: pl.DataFrame, current: pl.DataFrame, test: NumericTest) -> dict[str, ColumnDrift]:
    """Drift of every column of two frames of numbers, by name."""
    from evidently.metrics import ValueDrift

    names = reference.columns
    items = [ValueDrift(column=name, method=test.method, threshold=test.threshold) for name in names]
    snapshot = _run(items, reference, current, names, [])
    return {drift.name: drift for drift in _judged(snapshot, reference, current, names, [])}


def unseen_share(reference: pl.Series, current: pl.Series) -> float:
    """Share of the values of `current` (nulls left out) that never occur in `reference`; 0 when there are none."""
    known = current.drop_nulls()
    return float((~known.is_in(reference.drop_nulls().unique().implode())).mean()) if len(known) else 0.0


_RANDOM_ID = re.compile(r"(?<![0-9a-zA-Z])(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?![0-9a-zA-Z])")


def mask_ids(html: str) -> str:
    """Replace every 128-bit id by the number of its first occurrence; the same id stays the same."""
    numbers: dict[str, str] = {}
    return _RANDOM_ID.sub(lambda match: numbers.setdefault(match.group(), f"{len(numbers):032d}"), html)


def _run(
    items: Sequence[Any], reference: pl.DataFrame, current: pl.DataFrame, numeric: list[str], categorical: list[str]
) -> Any:
    from evidently import DataDefinition, Dataset, Report

    definition = DataDefinition(numerical_columns=numeric, categorical_columns=categorical)
    datasets = [
        Dataset.from_pandas(_pandas(frame, numeric, categorical), data_definition=definition)
        for frame in (current, reference)
    ]
    return Report(list(items), include_tests=True).run(*datasets)


def _pandas(frame: pl.DataFrame, numeric: Iterable[str], categorical: Iterable[str]) -> Any:
    """Numbers as floats, categories as text; Evidently writes categories into a script unescaped, hence no `<`."""
    text = pl.col(list(categorical)).cast(pl.String).fill_null(MISSING)
    for sign, replacement in (("<", "‹"), (">", "›")):
        text = text.str.replace_all(sign, replacement, literal=True)
    return frame.select(pl.col(list(numeric)).cast(pl.Float64), text).to_pandas()


def _judged(
    snapshot: Any, reference: pl.DataFrame, current: pl.DataFrame, numeric: Iterable[str], categorical: Iterable[str]
) -> list[ColumnDrift]:
    """Values and test results of a snapshot, a ColumnDrift per column."""
    kinds = dict.fromkeys(numeric, "numeric") | dict.fromkeys(categorical, "categorical")
    results = snapshot.dict()
    drifted = {
        test["metric_config"]["params"].get("column"): getattr(test["status"], "value", test["status"]) == "FAIL"
        for test in results["tests"]
    }
    found = []
    for metric in results["metrics"]:
        settings = metric["config"]
        name = settings.get("column")
        if name is None:
            continue
        found.append(
            ColumnDrift(
                name,
                kinds[name],
                settings["method"],
                settings["threshold"],
                float(metric["value"]),
                drifted[name],
                reference[name].null_count() / len(reference),
                current[name].null_count() / len(current),
            )
        )
    return found
