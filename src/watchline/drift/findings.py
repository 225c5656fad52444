"""All that the drift stage found, and its verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from watchline.drift.compare import ColumnDrift, DriftConfig, Plan
from watchline.drift.windows import WindowDrift


@dataclass(frozen=True)
class Findings:
    """All that was found: drift of features (strongest first) and target, unseen ids, and what follows by model.

    days: per day of the window split, rows, mean and median of the target, share of zeros. residuals: model -> per
    finetune and eval day split, rows, mae_s (median), bias_s (mean prediction minus label). quality: model -> offline
    metrics, its arm and its lift. rows: split -> (rows, rows compared). windows, columns_by_day, predictions_by_day:
    windows.py; errors_by_decile: unusual.py.
    """

    plan: Plan
    features: list[ColumnDrift]
    target: ColumnDrift
    unseen: dict[str, float]
    days: list[dict[str, Any]]
    residuals: dict[str, list[dict[str, Any]]]
    quality: dict[str, dict[str, Any]]
    rows: dict[str, tuple[int, int]]
    windows: list[WindowDrift]
    columns_by_day: list[dict[str, Any]]
    predictions_by_day: list[dict[str, Any]]
    errors_by_decile: list[dict[str, Any]]

    @property
    def num_drifted(self) -> int:
        """Feature columns that drifted."""
        return sum(drift.drifted for drift in self.features)

    @property
    def share_drifted(self) -> float:
        """Share of the compared feature columns that drifted."""
        return self.num_drifted / len(self.features)

    @property
    def label(self) -> str:
        """The target in words: `watch time` of the column watch_time_s."""
        return self.target.name.removesuffix("_s").replace("_", " ")

    def judge(self, config: DriftConfig) -> tuple[str, str]:
        """Status (pass, warn, fail) and sentence of the verdict, by the share of drifted columns and the target."""
        share = self.share_drifted
        status = "fail" if share >= config.fail_share else "warn" if share >= config.warn_share else "pass"
        if self.target.drifted and status == "pass":
            status = "warn"
        target = f"{self.label} drifted too" if self.target.drifted else f"{self.label} did not"
        return status, f"{self.num_drifted} of {len(self.features)} feature columns drifted ({share:.0%}); {target}."
