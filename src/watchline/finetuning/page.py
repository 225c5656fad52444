"""The page and the metrics of the finetune stage, from what a fine-tuning run returns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from watchline.adapters.spectrum import ENERGY_SHARE, Update
from watchline.finetuning.comparison import Comparison
from watchline.finetuning.comparison_page import comparison_metrics, comparison_sections, spectrum_of
from watchline.finetuning.loop import Finetuned
from watchline.finetuning.rows import METRICS, HeldOut
from watchline.metrics import LEAST_USERS, Interval, paired_bootstrap
from watchline.report import Callout, Facts, Figure, Page, Table, Text
from watchline.report.charts import bar_chart, line_chart

CURVE_COLUMNS = ("step", "epoch", "train_loss", "held_out_loss", "held_out_xauc", "held_out_mae_s")
WEIGHTS_PER_CHART = 6


def finetune_metrics(
    method: str, result: Finetuned, held_out: HeldOut, seed: int, comparison: Comparison | None = None
) -> dict[str, Any]:
    """metrics.json: before, after and difference (with its 95 % interval by user) on the held-out rows; the updates;
    means and spreads of every method where several were compared."""
    measured = {"before": held_out.metrics(result.before), "after": held_out.metrics(result.after)}
    measured["before"]["loss"], measured["after"]["loss"] = result.held_out_loss(0), result.held_out_loss()
    difference = {name: _interval(name, result, held_out, seed) for name in METRICS}
    return {
        "method": method,
        **measured,
        "difference": difference,
        "rows": {"train": held_out.train_rows, "held_out": len(held_out.label_s)},
        "steps": {"kept": result.kept_step, "last": result.last_step},
        "update": {
            "relative_norm": _joint_relative_norm(result.updates),
            "lowest_rank": min(update.numerical_rank for update in result.updates),
            "highest_rank": max(update.numerical_rank for update in result.updates),
        },
        **(comparison_metrics(comparison) if comparison else {}),
    }


def _interval(name: str, result: Finetuned, held_out: HeldOut, seed: int) -> dict[str, float | None]:
    statistic, _ = METRICS[name]
    interval: Interval = paired_bootstrap(
        name, held_out.label_s, result.after[statistic], result.before[statistic], held_out.user_id, seed=seed
    )
    return {key: value if math.isfinite(value) else None for key, value in vars(interval).items()}


def _joint_relative_norm(updates: list[Update]) -> float:
    """Norm of all updates together over that of all weights together."""
    moved = sum(update.norm**2 for update in updates)
    weights = sum((update.norm / update.relative_norm) ** 2 for update in updates if update.relative_norm)
    return math.sqrt(moved / weights) if weights else 0.0


def finetune_page(
    metrics: Mapping[str, Any],
    result: Finetuned,
    held_out: HeldOut,
    params: Mapping[str, Any],
    comparison: Comparison | None = None,
) -> Page:
    """Before and after, methods side by side, curves, size, rank and spectrum of every weight's update."""
    rows = metrics["rows"]
    lead = (
        f"{rows['train']:,} rows of the finetune days before {held_out.cut} trained on, the {rows['held_out']:,} rows "
        f"from then on held out; the weights of step {result.kept_step} of {result.last_step} are kept."
    )
    page = Page("finetune", "Fine-tuning", lead)
    page.section("Held-out rows before and after", *_before_after(metrics, result), note=_SELECTION_NOTE)
    if comparison:
        comparison_sections(page, comparison)
    page.section("Curves", *_curve_figures(result.curves))
    title = "Updates of the weights" if result.kept_step else "Updates of the weights up to the last step, not kept"
    page.section(title, _update_table(result.updates), note=_rank_note(params))
    page.section("Update by layer", _norm_figure(result.updates))
    page.section("Singular spectrum of the updates", *_spectrum_figures(result.updates))
    page.section("Parameters", Facts(params))
    return page


_SELECTION_NOTE = (
    "The step is chosen by the loss on these same rows, so the gain is on the hopeful side; the evaluate stage "
    "measures it on later days. Intervals: paired bootstrap by user, 95 %."
)


def _rank_note(params: Mapping[str, Any]) -> str:
    return (
        f"{_rank_limit(params)} Numerical rank: singular values of the update above the rounding noise of its steps. "
        f"Energy rank: how many hold {ENERGY_SHARE:.0%} of its squared norm."
    )


def _rank_limit(params: Mapping[str, Any]) -> str:
    slices, rank = params["num_slices"], params.get("rank")
    if params["method"] == "full":
        return "Full fine-tuning leaves the rank of an update free."
    if params["method"] == "hd_pissa":
        return (
            f"One step has rank 2 x {slices} slices x {rank} = {2 * slices * rank} at most; further steps add parts "
            "of second order."
        )
    most = rank if params["method"] == "lora" else 2 * rank
    return f"The update has rank {most} at most, however many steps."


def _before_after(metrics: Mapping[str, Any], result: Finetuned) -> list[Any]:
    before, after = metrics["before"]["loss"], metrics["after"]["loss"]
    rows: list[list[Any]] = [["loss", None, before, after, after - before, None, None]]
    for name, (statistic, _) in METRICS.items():
        change = metrics["difference"][name]
        interval = [change[key] for key in ("value", "low", "high")]
        rows.append([name, statistic, metrics["before"][name], metrics["after"][name], *interval])
    columns = ["metric", "statistic", "before", "after", "difference", "low", "high"]
    table = Table(columns, rows, formats=dict.fromkeys(columns[2:], ".4f"))
    return [_judgement(metrics, result), table]


def _judgement(metrics: Mapping[str, Any], result: Finetuned) -> Callout:
    if not result.kept_step:
        return Callout("warn", "No step lowered the held-out loss: the model is left as it came.")
    difference = metrics["difference"]["mae_s"]
    if difference["low"] is None:
        return Callout("info", f"The held-out loss fell; fewer than {LEAST_USERS} users tell nothing of others.")
    if difference["low"] <= 0 <= difference["high"]:
        return Callout("info", "The held-out loss fell; the difference in MAE is within its interval around zero.")
    status, word = ("pass", "fell") if difference["high"] < 0 else ("warn", "rose")
    return Callout(status, f"The held-out loss fell, and MAE {word} by {abs(difference['value']):.3f} s.")


def _curve_figures(curves: list[dict[str, float]]) -> list[Figure]:
    def points(name: str) -> tuple[list[float], list[float]]:
        kept = [(row["step"], row[name]) for row in curves if name in row]
        return [step for step, _ in kept], [value for _, value in kept]

    losses = {"held out": points("held_out_loss")}
    if any("train_loss" in row for row in curves):
        losses = {"trained on": points("train_loss"), **losses}
    return [
        line_chart(losses, "step", "loss", "Loss"),
        line_chart({"held out": points("held_out_mae_s")}, "step", "MAE, s", "MAE of the median"),
        line_chart({"held out": points("held_out_xauc")}, "step", "XAUC", "XAUC of the expected rank"),
    ]


def _update_table(updates: list[Update]) -> Table:
    columns = ["weight", "shape", "rank of a slice", "norm", "relative norm", "numerical rank", "energy rank"]
    rows = [
        [
            update.name,
            f"{update.shape[0]} x {update.shape[1]}",
            update.rank_per_slice,
            update.norm,
            update.relative_norm,
            update.numerical_rank,
            update.energy_rank,
        ]
        for update in updates
    ]
    return Table(columns, rows, formats={"norm": ".4g", "relative norm": ".3%"})


def _norm_figure(updates: list[Update]) -> Figure:
    percent = [100 * update.relative_norm for update in updates]
    return bar_chart([update.name for update in updates], percent, "% of the weight's norm", "Norm of the update")


def _spectrum_figures(updates: list[Update]) -> list[Any]:
    moved = [update for update in updates if update.singular_values and update.singular_values[0] > 0]
    if not moved:
        return [Text("No weight moved.")]
    groups = [moved[i : i + WEIGHTS_PER_CHART] for i in range(0, len(moved), WEIGHTS_PER_CHART)]
    figures = []
    for number, group in enumerate(groups, start=1):
        series = {update.name: spectrum_of(update) for update in group}
        title = "Singular values" + (f", weights {number} of {len(groups)}" if len(groups) > 1 else "")
        figures.append(line_chart(series, "position", "share of the largest", title, log_y=True))
    return figures
