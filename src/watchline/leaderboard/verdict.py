"""Which method wins, whether it is the line's own, and where that one is behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from watchline.leaderboard.plan import Plan
from watchline.leaderboard.significance import Comparison
from watchline.leaderboard.summary import Summary, best_of, single_models
from watchline.report.metric_words import DISTANCE, TITLE

DECIDING = ("mae_s", "xauc")  # the first names the default
WORDS = {"mae_s": "least MAE", "xauc": "highest XAUC"}


@dataclass(frozen=True)
class Win:
    """The best single method in a metric, and those whose corrected comparison does not tell them from it."""

    metric: str
    model: str
    value: float
    not_told_apart: list[str]


@dataclass(frozen=True)
class Loss:
    """A slice in which the subject is worse than the winner: both values, and the subject's minus the winner's."""

    slice: str
    bucket: str
    rows: int
    metric: str
    subject: float
    winner: float

    @property
    def gap(self) -> float:
        """How much the subject is behind, in the metric's unit; above 0."""
        return abs(self.subject - self.winner)


def winners(summary: Summary, plan: Plan, against_best: Sequence[Comparison]) -> dict[str, Win]:
    """The winner of each metric of DECIDING; `against_best` compares every model with the best of its metric."""
    singles = single_models(summary, plan)
    found = {}
    for metric in DECIDING:
        best = best_of(summary, metric, singles)
        close = [
            each.model
            for each in against_best
            if each.metric == metric and each.model in singles and not each.is_significant
        ]
        found[metric] = Win(metric, best, summary[best][metric].mean, close)
    return found


def losses(slices: Mapping[str, Sequence[Mapping[str, Any]]], wins: Mapping[str, Win], subject: str) -> list[Loss]:
    """Slices in which the subject is worse than the winner of a metric, by metric, the largest gap first."""
    found = []
    for metric, win in wins.items():
        behind = []
        for title, buckets in slices.items():
            for part in buckets:
                own, best = part[metric].get(subject), part[metric].get(win.model)
                if own is not None and best is not None and DISTANCE[metric](own) > DISTANCE[metric](best):
                    behind.append(Loss(title, part["bucket"], part["rows"], metric, own, best))
        found += sorted(behind, key=lambda loss: (-loss.gap, loss.slice, loss.bucket))
    return found


def sentences(
    wins: Mapping[str, Win], plan: Plan, summary: Summary, against_best: Sequence[Comparison], behind: Sequence[Loss]
) -> list[str]:
    """The verdict in words: winners, the default that follows, and what the subject lacks."""
    words = [_of_win(win, summary) for win in wins.values()]
    words.append(_of_default(wins[DECIDING[0]], plan.subject))
    if plan.subject not in summary:
        return [*words, f"`{plan.subject}` was not run here."]
    lacking = [metric for metric, win in wins.items() if win.model != plan.subject]
    if not lacking:
        return [*words, f"`{plan.subject}` wins on both."]
    words += [_of_gap(metric, wins[metric].model, plan.subject, against_best) for metric in lacking]
    for metric in lacking:
        worst = [loss for loss in behind if loss.metric == metric][:3]
        if worst:
            parts = "; ".join(f"{loss.slice.lower()}, {loss.bucket}: {_number(loss.gap, metric)}" for loss in worst)
            words.append(f"Where `{plan.subject}` is furthest behind in {_short(metric)}: {parts}.")
    return words


def _of_default(win: Win, subject: str) -> str:
    """Whichever method wins is the default; a tie changes nothing."""
    text = f"By its rule the line's default is the single method of {WORDS[win.metric]}: on this protocol `{win.model}`"
    if subject in win.not_told_apart and subject != win.model:
        return f"{text}, which is not told apart from `{subject}`; so `{subject}` stays the default."
    return f"{text}."


def _of_win(win: Win, summary: Summary) -> str:
    spread = summary[win.model][win.metric]
    seeds = f"mean of {spread.seeds} seeds" if spread.seeds > 1 else "one seed, so its spread is not known"
    text = f"`{win.model}` has the {WORDS[win.metric]}, {_number(win.value, win.metric)} ({seeds})."
    if win.not_told_apart:
        close = ", ".join(f"`{name}`" for name in win.not_told_apart)
        text += f" After correction it is not told apart from {close}."
    return text


def _of_gap(metric: str, winner: str, subject: str, against_best: Sequence[Comparison]) -> str:
    text = f"`{subject}` is not the winner in {_short(metric)}"
    for each in against_best:
        if (each.model, each.metric) != (subject, metric):
            continue
        if each.p_corrected is None:
            text += f": {each.value:+.4f} against `{winner}`, too few users for an interval"
        else:
            signed = f"{each.value:+.4f} against `{winner}`, 95 % interval {each.low:+.4f} to {each.high:+.4f}"
            judged = "significant" if each.is_significant else "not significant"
            text += f": {signed}, corrected p {each.p_corrected:.3g}, {judged}"
    return text + "."


def _short(metric: str) -> str:
    return TITLE[metric].removesuffix(" s")


def _number(value: float, metric: str) -> str:
    return f"{value:.3f} s" if metric.endswith("_s") else f"{value:.4f}"
